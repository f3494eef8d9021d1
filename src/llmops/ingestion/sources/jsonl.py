"""Files with a JSON object on every line as a source: each line is a document."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from llmops.errors import ConfigurationError, DocumentError, DocumentGoneError
from llmops.ingestion.sources.jsonl_files import Line, LineFiles, find_files, lines_of
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.rows import NamesSeen, digest_of, metadata_of, name_of, principals_of, too_large
from llmops.ingestion.sources.specs_data import JsonLinesSource

States = dict[str, list[int]]
_PAGE = 1_000
_MAX_PROBLEMS = 100
_BOM = b"\xef\xbb\xbf"


class JsonLines:
    """Lines of one file, or of all that a glob finds; an id stands once among all of them.

    A line that cannot be read, or whose id stands on an earlier one, is a problem with its number: the listing is
    then incomplete, and nothing is removed. So is a file that changes while it is read.

    Args:
        spec_file: the pipeline's file, from whose folder `spec.path` is seen.
    """

    def __init__(self, spec: JsonLinesSource, spec_file: str) -> None:
        self._spec = spec
        self._folder = Path(spec_file).resolve().parent
        self._files = LineFiles(self._folder, spec.max_unpacked_bytes)
        self._index: tuple[States, NamesSeen] | None = None
        self._indexing = threading.Lock()

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002 (files do not say what changed)
        """All lines, file by file. It goes on after a break only where no file has changed.

        Raises:
            ConfigurationError: there is no such file.
            SourceError: a file cannot be read.
        """
        states = self._states()
        if not states:
            raise ConfigurationError(f"no file {self._spec.path!r} in {str(self._folder)!r}; mend source.path")
        n_known = int(checkpoint["n_lines"]) if checkpoint and checkpoint["files"] == states else 0
        seen = NamesSeen()
        try:
            yield from self._listed(states, n_known, seen)
        finally:
            seen.close()

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A line's text; looked for anew when its file was written since it was listed.

        Raises:
            DocumentError: it is too large.
            DocumentGoneError: no line has its id any more.
            SourceError: a file is away.
        """
        name, start, length = str(item.handle["file"]), int(item.handle["start"]), int(item.handle["length"])
        raw = self._files.read(name, start, length)
        if digest_of(raw) != item.handle["digest"]:
            if (found := self._found_again(item.uri)) is None:
                raise DocumentGoneError("no line has its id any more")
            known, (item, raw) = item.acl, found
            if item.acl is None and known is not None:  # None would mean that nothing is known now
                item = replace(item, acl=())
        text = str(_at(_record(raw), self._spec.fields.text)).encode()
        if len(text) > max_bytes:
            raise DocumentError(too_large(len(text), max_bytes))
        title, url = item.title, item.url
        return Fetched(raw=text, version=item.version, title=title, url=url, acl=item.acl, metadata=item.metadata)

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: a file knows nobody."""
        return {}

    def close(self) -> None:
        """Close the files."""
        self._files.close()
        with self._indexing:
            if self._index is not None:
                self._index[1].close()
                self._index = None

    def _states(self) -> States:
        """The files that exist now, by name."""
        names = find_files(self._folder, self._spec.path)
        return {name: list(self._files.current(name)) for name in names}

    def _found_again(self, uri: str) -> tuple[Item, bytes] | None:
        """A document and its line in the files as they are now; they are read once for all that are looked for."""
        with self._indexing:
            states = self._states()
            if self._index is None or self._index[0] != states:
                seen = NamesSeen()
                for _ in self._listed(states, 0, seen):
                    pass
                if self._index is not None:
                    self._index[1].close()
                self._index = (states, seen)
            place = self._index[1].place(uri)
        if place is None:
            return None
        name, start, length = orjson.loads(place)
        raw = self._files.read(name, start, length)
        item = self._item(name, Line(number=0, start=start, raw=raw), None)
        return (item, raw) if isinstance(item, Item) and item.uri == uri else None

    def _listed(self, states: States, n_known: int, seen: NamesSeen) -> Iterator[Page]:
        """Pages after the first `n_known` lines of all files; those are read again, for the ids they hold."""
        n_lines = n_problems = 0
        items: list[Item] = []
        problems: list[str] = []
        for name in states:
            opened = self._files.open(name)
            for line in lines_of(opened.file, self._spec.max_line_bytes):
                found = self._item(name, line, seen)
                n_lines += 1
                if found is None or n_lines <= n_known:
                    continue
                if isinstance(found, Item):
                    items.append(found)
                else:
                    n_problems += 1
                    problems += [found] if n_problems <= _MAX_PROBLEMS else []
                if len(items) == _PAGE:
                    place = {"files": states, "n_lines": n_lines}
                    yield Page(items=tuple(items), problems=tuple(problems), checkpoint=place)
                    items, problems = [], []
            if opened.problem:
                problems.append(f"{name}: {opened.problem}")
            if list(opened.state) != states[name] or list(self._files.current(name)) != states[name]:
                problems.append(f"{name}: was written while it was read; the next sync reads it anew")
        if n_problems > _MAX_PROBLEMS:
            problems.append(f"{n_problems - _MAX_PROBLEMS:,} more lines cannot be read")
        place = {"files": states, "n_lines": n_lines}
        yield Page(items=tuple(items), problems=tuple(problems), checkpoint=place)

    def _item(self, name: str, line: Line, seen: NamesSeen | None) -> Item | str | None:
        """The document on a line, what is wrong with the line, or None for an empty one."""
        place = f"{name}:{line.number}"
        if line.raw is None:
            return f"{place}: the line is over {self._spec.max_line_bytes:,} bytes (source.max_line_bytes)"
        if not line.raw.strip():
            return None
        fields = self._spec.fields
        try:
            record = _record(line.raw)
            uri = name_of(_at(record, fields.id))
            if not isinstance(_at(record, fields.text), str):
                raise ValueError(f"the field {fields.text!r} holds no text")
        except (ValueError, RecursionError) as error:
            return f"{place}: {error}"
        if seen is not None and seen.count(uri, orjson.dumps([name, line.start, len(line.raw)]).decode()) > 1:
            return f"{place}: the id {uri!r} stands on an earlier line"
        digest = digest_of(line.raw)
        said = {
            field: _at(record, where) for field in ("title", "url", "version") if (where := getattr(fields, field))
        }
        acl = tuple(sorted(self._spec.acl)) if self._spec.acl else principals_of(_at(record, fields.acl or ""))
        metadata = metadata_of((field, _at(record, field)) for field in fields.metadata)
        return Item(
            uri=uri,
            version=str(said["version"]) if said.get("version") is not None else digest,
            acl=acl,
            title=str(said.get("title") or ""),
            url=str(said.get("url") or ""),
            media_type=self._spec.media_type,
            metadata={**self._spec.metadata, **metadata},
            handle={"file": name, "start": line.start, "length": len(line.raw), "digest": digest},
        )


def _record(raw: bytes) -> Mapping[str, Any]:
    """A line's object.

    Raises:
        ValueError: it holds none.
    """
    try:
        record = orjson.loads(raw.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"no JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"a JSON object is expected, not {type(record).__name__}")
    return record


def _at(record: Mapping[str, Any], field: str) -> Any:
    """The value of a field; dots lead into nested objects, unless the whole name is a field. None when absent."""
    if field in record:
        return record[field]
    value: Any = record
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
