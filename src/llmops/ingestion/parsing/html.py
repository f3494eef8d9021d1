"""HTML through beautifulsoup and lxml: the main content, without navigation and hidden parts.

Bounded by the number of tags; what is nested very deeply is read without its structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bs4 import BeautifulSoup, Tag
from bs4.dammit import EncodingDetector
from bs4.element import Comment, NavigableString

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder
from llmops.ingestion.parsing.html_tables import is_data_table, rows_of_table
from llmops.ingestion.parsing.html_text import BLOCKS, latex_of, one_line, text_of
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
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MAX_DEPTH = 120
MAX_TAGS = 300_000
_TAG = re.compile(r"<[A-Za-z]")
# WHATWG Encoding Standard: what pages call Latin-1 or ASCII is Windows-1252, and a page that can be read far
# enough to find "utf-16" in it is not UTF-16.
_AS_BROWSERS_READ = {
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin-1", "latin1", "ascii", "us-ascii"), "windows-1252"),
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be", "utf-32"), "utf-8"),
}


def parse_html(raw: bytes, uri: str) -> Parsed:
    """The main content of a page.

    Raises:
        DocumentError: it is no text, or has over `MAX_TAGS` tags.
    """
    soup = _soup(_decode(raw))
    title_tag = soup.find("title")
    title = title_tag.get_text(" ", strip=True) if isinstance(title_tag, Tag) else ""
    metadata = _metadata(soup)
    builder = TextBuilder()
    root = _main_content(soup)
    if root is not None:
        _Walker(root, builder, None).walk(root, 0)
    return builder.build(uri=uri, media_type="text/html", title=title, metadata=metadata)


def add_html(fragment: str, builder: TextBuilder, *, lines: tuple[int, int] | None) -> None:
    """The text of a fragment, such as HTML inside Markdown."""
    soup = _soup(fragment)
    _remove(soup, _NEVER)
    if isinstance(soup.body, Tag):
        _Walker(soup.body, builder, lines).walk(soup.body, 0)


def _soup(text: str) -> BeautifulSoup:
    n_tags = sum(1 for _ in _TAG.finditer(text))
    if n_tags > MAX_TAGS:
        raise DocumentError(f"has {n_tags} tags; at most {MAX_TAGS} are read")
    return BeautifulSoup(text, "lxml")


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
    outermost = _outermost(furniture)
    rest = n_before - sum(len(tag.get_text(" ", strip=True)) for tag in outermost)
    if rest > 0.2 * n_before:  # a page that is all form or all footer is kept as it is
        for tag in outermost:
            tag.decompose()
    return root


def _outermost(tags: Sequence[Tag]) -> list[Tag]:
    """Those that stand in no other one; each ancestor is looked at once."""
    known = {id(tag) for tag in tags}
    is_within: dict[int, bool] = {}
    found: list[Tag] = []
    for tag in tags:
        climbed: list[int] = []
        parent = tag.parent
        while parent is not None and id(parent) not in known and id(parent) not in is_within:
            climbed.append(id(parent))
            parent = parent.parent
        within = parent is not None and (id(parent) in known or is_within[id(parent)])
        is_within.update(dict.fromkeys(climbed, within))
        if not within:
            found.append(tag)
    return found


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
    for formula in soup.find_all("math"):
        formula.replace_with(NavigableString(f" {latex_of(formula)} "))


class _Walker:
    """Blocks of a tree in reading order; text that stands between blocks is a paragraph."""

    def __init__(self, root: Tag, builder: TextBuilder, lines: tuple[int, int] | None) -> None:
        self._builder, self._lines = builder, lines
        self._holding: set[int] = set()
        for block in (root, *root.find_all(list(BLOCKS))):
            tag: Tag | None = block
            while tag is not None and id(tag) not in self._holding:
                self._holding.add(id(tag))
                tag = tag.parent

    def walk(self, node: Tag, depth: int) -> None:
        """What stands in a tag; from a depth on as one paragraph."""
        if depth > _MAX_DEPTH:
            self._builder.add("paragraph", _folded(text_of(node)), lines=self._lines)
            return
        loose: list[str] = []
        for child in node.children:
            if isinstance(child, Comment):
                continue
            if isinstance(child, NavigableString):
                loose.append(str(child))
            elif isinstance(child, Tag):
                if id(child) not in self._holding:
                    loose.append(text_of(child))
                    continue
                self._paragraph(loose)
                self._block(child, depth)
        self._paragraph(loose)

    def _paragraph(self, loose: list[str]) -> None:
        self._builder.add("paragraph", _folded("".join(loose)), lines=self._lines)
        loose.clear()

    def _block(self, tag: Tag, depth: int) -> None:
        if tag.name in _HEADINGS:
            self._builder.add("heading", _folded(text_of(tag)), level=_HEADINGS[tag.name], lines=self._lines)
        elif tag.name == "pre":
            self._builder.add("code", text_of(tag), lines=self._lines)
        elif tag.name in _LISTS:
            self._builder.add("list", "\n".join(_items(tag, 0)), lines=self._lines)
        elif tag.name == "table" and is_data_table(tag):
            self._builder.add("table", rows_of_table(tag), lines=self._lines)
        elif tag.name == "dl" and not _is_layout(tag):
            self._builder.add("list", "\n".join(_definitions(tag)), lines=self._lines)
        else:
            self.walk(tag, depth + 1)


def _is_layout(definitions: Tag) -> bool:
    """Whether a definition list holds more than words: code, tables, lists."""
    return definitions.find(["pre", "table", "ul", "ol", "dl", "blockquote", *_HEADINGS]) is not None


def _definitions(tag: Tag) -> Iterator[str]:
    """`- term: meaning`; terms that share a meaning stand together."""
    terms: list[str] = []
    n_meanings = 0
    for part in tag.find_all(["dt", "dd"]):
        text = _own_line(part)
        if part.name == "dt":
            if n_meanings:
                terms, n_meanings = [], 0
            terms.append(text)
        elif n_meanings == 0:
            n_meanings += 1
            yield f"- {', '.join(filter(None, terms))}: {text}" if any(terms) else f"- {text}"
        else:
            yield f"  {text}"
    if terms and not n_meanings:
        yield f"- {', '.join(filter(None, terms))}"


def _own_line(part: Tag) -> str:
    """The text of a part before the next one, which an unclosed part may hold."""
    own: list[str] = []
    for child in part.children:
        if isinstance(child, Tag):
            if child.name in ("dt", "dd"):
                break
            own.append(text_of(child))
        elif not isinstance(child, Comment):
            own.append(str(child))
    return _folded("".join(own))


def _items(tag: Tag, depth: int) -> Iterator[str]:
    """Lines of a list; what stands between its items, such as a list put there by mistake, is kept."""
    if depth > _MAX_DEPTH:
        yield one_line(tag)
        return
    start = str(tag.get("start") or "1")
    ordinal = int(start) if start.isascii() and start.isdigit() and len(start) < 10 else 1
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
        elif text := one_line(child):
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
            own.append(text_of(child) if isinstance(child, Tag) else str(child))
    if text := " ".join("".join(own).split()):
        yield "  " * depth + mark + text


def _folded(text: str) -> str:
    return " ".join(text.split())
