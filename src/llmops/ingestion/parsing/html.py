"""HTML through beautifulsoup and lxml: the main content, without navigation and hidden parts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bs4 import BeautifulSoup, Tag
from bs4.dammit import EncodingDetector
from bs4.element import Comment, NavigableString

from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder
from llmops.ingestion.parsing.plain import decode

_NEVER = (
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "iframe",
    "object",
    "head",
    "select",
    "button",
    "dialog",
)
_FURNITURE = ("nav", "aside", "form", "footer", "header")
_LISTS = ("ul", "ol", "menu")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    """address article aside blockquote body dd details div dl dt fieldset figcaption figure footer form header hr
    html li main menu nav ol p pre section summary table tbody td tfoot th thead tr ul""".split()
) | frozenset(_HEADINGS)
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MAX_DEPTH = 500
# WHATWG Encoding Standard: what pages call Latin-1 or ASCII is Windows-1252, and a page that can be read far
# enough to find "utf-16" in it is not UTF-16.
_AS_BROWSERS_READ = {
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin-1", "latin1", "ascii", "us-ascii"), "windows-1252"),
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be", "utf-32"), "utf-8"),
}


def parse_html(raw: bytes, uri: str) -> Parsed:
    soup = BeautifulSoup(_decode(raw), "lxml")
    title_tag = soup.find("title")
    title = title_tag.get_text(" ", strip=True) if isinstance(title_tag, Tag) else ""
    metadata = _metadata(soup)
    builder = TextBuilder()
    root = _main_content(soup)
    if root is not None:
        _walk(root, builder, None, 0)
    return builder.build(uri=uri, media_type="text/html", title=title, metadata=metadata)


def add_html(fragment: str, builder: TextBuilder, *, lines: tuple[int, int] | None) -> None:
    """The text of a fragment, such as HTML inside Markdown."""
    soup = BeautifulSoup(fragment, "lxml")
    _remove(soup, _NEVER)
    if isinstance(soup.body, Tag):
        _walk(soup.body, builder, lines, 0)


def _decode(raw: bytes) -> str:
    declared = EncodingDetector.find_declared_encoding(raw, is_html=True)
    declared = _AS_BROWSERS_READ.get(str(declared).lower(), declared)
    if declared and not raw.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        try:
            return raw.decode(declared)
        except (LookupError, UnicodeDecodeError):
            pass
    return decode(raw)


def _metadata(soup: BeautifulSoup) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for name in ("description", "author"):
        tag = soup.find("meta", attrs={"name": name})
        if isinstance(tag, Tag) and (content := str(tag.get("content") or "").strip()):
            found[name] = content
    return found


def _main_content(soup: BeautifulSoup) -> Tag | None:
    """The part a person came to read; the whole body where a page does not mark one."""
    _remove(soup, _NEVER)
    body = soup.body or soup
    main = body.find("main") or body.find(role="main") or _only_article(body)
    root = main if isinstance(main, Tag) and main.get_text(strip=True) else body
    n_before = len(root.get_text(" ", strip=True))
    furniture = [
        tag for tag in root.find_all(_FURNITURE) if not (tag.name == "header" and tag.find(list(_HEADINGS)))
    ]
    known = {id(tag) for tag in furniture}
    outermost = [tag for tag in furniture if not any(id(parent) in known for parent in tag.parents)]
    rest = n_before - sum(len(tag.get_text(" ", strip=True)) for tag in outermost)
    if rest > 0.2 * n_before:  # a page that is all form or all footer is kept as it is
        for tag in outermost:
            tag.decompose()
    return root


def _only_article(body: Tag) -> Tag | None:
    articles = body.find_all("article")
    return articles[0] if len(articles) == 1 else None


def _remove(soup: BeautifulSoup, names: tuple[str, ...]) -> None:
    for tag in soup.find_all(names):
        if tag.name != "head":
            tag.decompose()
        else:
            tag.clear()
    for tag in soup.find_all(hidden=True):
        tag.decompose()
    for tag in soup.find_all(style=_HIDDEN):
        tag.decompose()


def _walk(node: Tag, builder: TextBuilder, lines: tuple[int, int] | None, depth: int) -> None:
    """Blocks in reading order; text that stands between blocks is a paragraph."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    loose: list[str] = []

    def flush() -> None:
        builder.add("paragraph", _folded("".join(loose)), lines=lines)
        loose.clear()

    for child in node.children:
        if isinstance(child, Comment):
            continue
        if isinstance(child, NavigableString):
            loose.append(str(child))
        elif isinstance(child, Tag):
            if not _holds_block(child):
                loose.append(_text(child))
                continue
            flush()
            _block(child, builder, lines, depth)
    flush()


def _holds_block(tag: Tag) -> bool:
    nodes = (tag, *tag.descendants)
    return any(isinstance(node, Tag) and node.name in _BLOCKS for node in nodes)


def _block(tag: Tag, builder: TextBuilder, lines: tuple[int, int] | None, depth: int) -> None:
    if tag.name in _HEADINGS:
        builder.add("heading", _folded(_text(tag)), level=_HEADINGS[tag.name], lines=lines)
    elif tag.name == "pre":
        builder.add("code", _text(tag), lines=lines)
    elif tag.name in _LISTS:
        builder.add("list", "\n".join(_items(tag, 0)), lines=lines)
    elif tag.name == "table" and not tag.find("table"):
        builder.add("table", _table(tag), lines=lines)
    else:
        _walk(tag, builder, lines, depth + 1)


def _items(tag: Tag, depth: int) -> Iterator[str]:
    """Lines of a list; what stands between its items, such as a list put there by mistake, is kept."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    start = str(tag.get("start") or "1")
    ordinal = int(start) if start.isascii() and start.isdigit() else 1
    for child in tag.children:
        if not isinstance(child, Tag):
            if not isinstance(child, Comment) and (loose := " ".join(str(child).split())):
                yield "  " * depth + loose
        elif child.name in _LISTS:
            yield from _items(child, depth + 1)
        elif child.name == "li":
            mark = f"{ordinal}. " if tag.name == "ol" else "- "
            ordinal += 1
            yield from _item(child, mark, depth)
        elif text := " ".join(_text(child).split()):
            yield "  " * depth + text


def _item(item: Tag, mark: str, depth: int) -> Iterator[str]:
    own: list[str] = []
    for child in item.children:
        if isinstance(child, Tag) and child.name in _LISTS:
            if text := " ".join("".join(own).split()):
                yield "  " * depth + mark + text
                mark = "  "
            own.clear()
            yield from _items(child, depth + 1)
        elif not isinstance(child, Comment):
            own.append(_text(child) if isinstance(child, Tag) else str(child))
    if text := " ".join("".join(own).split()):
        yield "  " * depth + mark + text


def _table(tag: Tag) -> str:
    rows = ([" ".join(_text(cell).split()) for cell in row.find_all(["td", "th"])] for row in tag.find_all("tr"))
    caption = tag.find("caption")
    lines = [" ".join(_text(caption).split())] if isinstance(caption, Tag) else []
    return "\n".join([*lines, *(" | ".join(row) for row in rows if any(row))])


def _text(tag: Tag) -> str:
    """Text of inline content; line breaks stay, images speak by their alternative text."""
    parts = [_stands_for(tag)]
    for node in tag.descendants:
        if isinstance(node, Comment):
            continue
        if isinstance(node, NavigableString):
            parts.append(str(node))
        elif isinstance(node, Tag):
            parts.append(" " if node.name in _BLOCKS else _stands_for(node))
    return "".join(parts)


def _stands_for(tag: Tag) -> str:
    if tag.name == "br":
        return "\n"
    return str(tag.get("alt") or "") if tag.name == "img" else ""


def _folded(text: str) -> str:
    return " ".join(text.split())
