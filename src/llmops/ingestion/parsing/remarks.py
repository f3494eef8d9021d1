"""Comments that reviewers left in office files: who, when, and what they said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmops.ingestion.parsing.builder import TextBuilder
from llmops.ingestion.parsing.safe_xml import attribute, children, descendants, local


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """One comment.

    Attributes:
        place: what it is about, such as a cell; "" when its position says so.
        date: as the file has it (ISO 8601); "" when it has none.
    """

    author: str
    date: str
    text: str
    place: str = ""


def add_remarks(remarks: Iterable[Remark], builder: TextBuilder, *, page: int | None = None) -> None:
    """Append a paragraph for each comment with text."""
    for remark in remarks:
        text = " ".join(remark.text.split())
        if text:
            place = f" on {remark.place}" if remark.place else ""
            author = f" by {remark.author}" if remark.author else ""
            date = f", {remark.date}" if remark.date else ""
            builder.add("paragraph", f"Comment{place}{author}{date}: {text}", page=page)


def people(root: Any) -> dict[str, str]:
    """Names by id of the authors in any office file's list of them, with their initials where it has some."""
    found: dict[str, str] = {}
    for person in root.iter():
        if local(person) in ("cmAuthor", "author", "person") and (key := attribute(person, "id")):
            name = attribute(person, "name") or attribute(person, "displayName")
            initials = attribute(person, "initials")
            found[key] = f"{name} ({initials})" if initials else name
    return found


def remarks_of(root: Any, authors: Mapping[str, str]) -> list[Remark]:
    """Comments and replies of a slide or a sheet, in the order of the file."""
    found = []
    for node in root.iter():
        if local(node) in ("cm", "reply", "threadedComment"):
            key = attribute(node, "authorId") or attribute(node, "personId")
            texts = [text for name in ("text", "txBody") for part in children(node, name) for text in _texts(part)]
            date = next((d for name in ("dt", "created", "dT") if (d := attribute(node, name))), "")
            found.append(
                Remark(author=authors.get(key, ""), date=date, text=" ".join(texts), place=attribute(node, "ref"))
            )
    return found


def _texts(part: Any) -> list[str]:
    """A comment's text stands in the element itself, or in runs below it."""
    runs = descendants(part, "t")
    return [run.text or "" for run in runs] if runs else [part.text or ""]
