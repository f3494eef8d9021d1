"""Text of inline HTML: line breaks stay, pictures speak by their alternative text, formulas are LaTeX."""

from __future__ import annotations

from bs4 import Tag
from bs4.element import Comment, NavigableString
from lxml import etree

from llmops.ingestion.parsing.formulas import latex_of_mathml

BLOCKS = frozenset(
    """address article aside blockquote body dd details div dl dt fieldset figcaption figure footer form h1 h2 h3
    h4 h5 h6 header hr html li main menu nav ol p pre section summary table tbody td tfoot th thead tr
    ul""".split()
)


def text_of(tag: Tag) -> str:
    """All text below a tag; blocks in it are set apart by blanks."""
    parts = [_stands_for(tag)]
    for node in tag.descendants:
        if isinstance(node, Comment):
            continue
        if isinstance(node, NavigableString):
            parts.append(str(node))
        elif isinstance(node, Tag):
            parts.append(" " if node.name in BLOCKS else _stands_for(node))
    return "".join(parts)


def one_line(tag: Tag) -> str:
    return " ".join(text_of(tag).split())


def _stands_for(tag: Tag) -> str:
    if tag.name == "br":
        return "\n"
    return str(tag.get("alt") or "") if tag.name == "img" else ""


def latex_of(formula: Tag) -> str:
    """A `math` element: the TeX it was made from where it brings that along, else LaTeX of its MathML."""
    for note in formula.find_all("annotation"):
        if "tex" in str(note.get("encoding") or "").lower():
            return note.get_text().strip()
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    try:
        root = etree.fromstring(formula.encode(), parser)
    except etree.XMLSyntaxError:
        return formula.get_text(" ", strip=True)
    latex = latex_of_mathml(root) if root is not None else ""
    return latex or formula.get_text(" ", strip=True)
