"""Confluence's storage format (XHTML with `ac:` and `ri:` elements) as HTML that any parser reads."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from lxml import etree

Name = Callable[[str], str]
"""Account id to the name that people read, or ""."""

_AC, _RI = "http://atlassian.com/content", "http://atlassian.com/resource/identifier"
_ROOT = f'<root xmlns:ac="{_AC}" xmlns:ri="{_RI}">%s</root>'
_CDATA = re.compile(r"(<!\[CDATA\[.*?\]\]>)", re.DOTALL)
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_OF_XML = ("amp", "lt", "gt", "quot", "apos")
_CODE_MACROS = ("code", "noformat")
_DONE = {"complete": "[x] ", "incomplete": "[ ] "}
_UNSEEN = {"parameter", "placeholder", "task-id", "task-uuid", "adf-node", "adf-attribute"}
_AS_DIV = {"layout", "layout-section", "layout-cell", "rich-text-body", "adf-content", "adf-fallback"}
_VOID = {"br", "hr", "img", "col"}
_KEPT = {"colspan", "rowspan", "href", "alt", "start"}


def html_of_storage(storage: str, title: str, name: Name = lambda _: "") -> str:
    """A whole HTML document; macros keep their text, links and images what they name.

    A page that is not well-formed is handed on as it stands, its code sections escaped, so that no text is lost.
    """
    try:
        body = "".join(_Writer(name).inside(_parsed(storage)))
    except (etree.XMLSyntaxError, RecursionError):
        body = _CDATA.sub(lambda found: html.escape(found[1][9:-3]), storage)
    return f"<!DOCTYPE html><html><head><title>{html.escape(title)}</title></head><body>{body}</body></html>"


def _parsed(storage: str) -> etree._Element:
    """As XML, HTML's named entities replaced first; a code section's are its own text."""
    pieces = _CDATA.split(storage)
    pieces[::2] = [_ENTITY.sub(_character, piece) for piece in pieces[::2]]
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    return etree.fromstring(_ROOT % "".join(pieces), parser)


def _character(entity: re.Match[str]) -> str:
    name = entity[1]
    return entity[0] if name in _OF_XML else html.escape(html.unescape(f"&{name};"))


class _Writer:
    def __init__(self, name: Name) -> None:
        self._name = name

    def inside(self, node: etree._Element) -> list[str]:
        """The node's content, with the text after each child."""
        out = [html.escape(node.text or "", quote=False)]
        for child in node:
            if isinstance(child.tag, str):
                out += self._element(child)
            out.append(html.escape(child.tail or "", quote=False))
        return out

    def _element(self, node: etree._Element) -> list[str]:
        tag = etree.QName(node)
        if tag.namespace is None:
            return self._plain(node, tag.localname)
        if tag.namespace == _RI:
            return [html.escape(self._resource(node))]
        match tag.localname:
            case "structured-macro" | "macro":
                return self._macro(node)
            case "link":
                return self._link(node)
            case "image":
                return self._image(node)
            case "plain-text-body":
                return ["<pre>", html.escape(node.text or "", quote=False), "</pre>"]
            case "task-list":
                return ["<ul>", *self.inside(node), "</ul>"]
            case "task":
                return self._task(node)
            case "emoticon":
                return [html.escape(str(node.get(f"{{{_AC}}}emoji-fallback") or ""))]
            case "adf-extension":  # the same content twice: as data, and as what it falls back to
                fallback = _child(node, "adf-fallback")
                return self.inside(fallback) if fallback is not None else self.inside(node)
            case name if name in _UNSEEN:
                return []
            case name if name in _AS_DIV:
                return ["<div>", *self.inside(node), "</div>"]
        return self.inside(node)

    def _plain(self, node: etree._Element, tag: str) -> list[str]:
        kept = "".join(f' {key}="{html.escape(value)}"' for key, value in node.attrib.items() if key in _KEPT)
        if tag in _VOID:
            return [f"<{tag}{kept}>"]
        inner = self.inside(node)
        if tag == "time" and not "".join(inner).strip():
            inner = [html.escape(node.get("datetime") or "")]
        return [f"<{tag}{kept}>", *inner, f"</{tag}>"]

    def _macro(self, node: etree._Element) -> list[str]:
        kind = node.get(f"{{{_AC}}}name") or ""
        said = _parameters(node)
        plain, rich = _child(node, "plain-text-body"), _child(node, "rich-text-body")
        title = f"<p><strong>{html.escape(said['title'])}</strong></p>" if said.get("title") else ""
        if plain is not None:
            text = html.escape(plain.text or "", quote=False)
            pre = f"<pre>{text}</pre>" if kind in _CODE_MACROS else f"<div>{text}</div>"
            return [title if kind != "status" else "", pre]
        if rich is not None:
            return ["<div>", title, *self.inside(rich), "</div>"]
        if kind in ("include", "excerpt-include"):
            return ["<p>", *(html.escape(self._resource(one)) for one in node.iter(f"{{{_RI}}}page")), "</p>"]
        if kind in ("status", "jira"):
            return [html.escape(said.get("title") or said.get("key") or "")]
        return [title]

    def _link(self, node: etree._Element) -> list[str]:
        body = _child(node, "link-body")
        plain = _child(node, "plain-text-link-body")
        target = next(
            (one for one in node if isinstance(one.tag, str) and etree.QName(one).namespace == _RI), None
        )
        if body is not None:
            inner = self.inside(body)
        elif plain is not None:
            inner = [html.escape(plain.text or "", quote=False)]
        else:
            inner = [html.escape(self._resource(target) if target is not None else "")]
        return ["<span>", *inner, "</span>"]

    def _image(self, node: etree._Element) -> list[str]:
        target = next((self._resource(one) for one in node.iter() if _is_resource(one)), "")
        alt = str(node.get(f"{{{_AC}}}alt") or node.get(f"{{{_AC}}}title") or target)
        caption = _child(node, "caption")
        rest = ["<p>", *self.inside(caption), "</p>"] if caption is not None else []
        return [f'<img alt="{html.escape(alt)}">', *rest]

    def _task(self, node: etree._Element) -> list[str]:
        status, body = _child(node, "task-status"), _child(node, "task-body")
        mark = _DONE.get((status.text or "").strip() if status is not None else "", "")
        return ["<li>", mark, *(self.inside(body) if body is not None else []), "</li>"]

    def _resource(self, node: etree._Element) -> str:
        """What a reference names, as a person reads it."""
        said = {etree.QName(key).localname: str(value) for key, value in node.attrib.items()}
        if etree.QName(node).localname == "user":
            name = self._name(said.get("account-id", "")) if said.get("account-id") else said.get("username", "")
            return f"@{name}" if name else "@someone"
        return next(
            (said[key] for key in ("content-title", "filename", "value", "space-key") if said.get(key)), ""
        )


def _child(node: etree._Element, name: str) -> etree._Element | None:
    found = node.find(f"{{{_AC}}}{name}")
    return found if found is not None else None


def _is_resource(node: etree._Element) -> bool:
    return isinstance(node.tag, str) and etree.QName(node).namespace == _RI


def _parameters(node: etree._Element) -> dict[str, str]:
    found = node.findall(f"{{{_AC}}}parameter")
    return {str(one.get(f"{{{_AC}}}name") or ""): "".join(one.itertext()).strip() for one in found}
