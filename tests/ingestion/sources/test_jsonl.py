"""Lines of JSON as a source: real files, packed and plain, good and bad."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmops.errors import ConfigurationError, DocumentError, DocumentGoneError, SourceError
from llmops.ingestion.sources import jsonl
from llmops.ingestion.sources.jsonl import JsonLines
from llmops.ingestion.sources.protocol import Item, Page
from llmops.ingestion.sources.specs_data import JsonLinesSource
from tests.ingestion.sources.contract import SourceContract

Make = Callable[..., JsonLines]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[JsonLines] = []

    def source(path: str = "docs.jsonl", **fields: Any) -> JsonLines:
        given = {"type": "jsonl", "path": path, **({} if "fields" in fields else {"acl": ["everyone"]}), **fields}
        spec = JsonLinesSource.model_validate_json(json.dumps(given))
        made.append(JsonLines(spec, str(tmp_path / "docs.yaml")))
        return made[-1]

    yield source
    for one in made:
        one.close()


def line(key: Any, text: str = "", **more: Any) -> bytes:
    return json.dumps({"id": key, "text": text or f"text of {key}", **more}).encode() + b"\n"


def write(folder: Path, *lines: bytes, name: str = "docs.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"".join(lines))
    return path


def listing(source: JsonLines) -> tuple[dict[str, Item], list[str]]:
    pages = list(source.pages(None, None))
    assert all(page.is_everything for page in pages)
    return {item.uri: item for page in pages for item in page.items}, [p for page in pages for p in page.problems]


class LinesPlace:
    """The contract's documents as lines of a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.texts = path, dict[str, str]()
        self.save()

    def save(self) -> None:
        self.path.write_bytes(b"".join(line(name, text) for name, text in self.texts.items()))

    def open(self) -> JsonLines:
        spec = {"type": "jsonl", "path": self.path.name, "acl": ("everyone",)}
        return JsonLines(JsonLinesSource.model_validate(spec), str(self.path.with_name("docs.yaml")))

    def write(self, name: str, text: str) -> None:
        self.texts[name] = text
        self.save()

    def remove(self, name: str) -> None:
        del self.texts[name]
        self.save()

    def uri(self, name: str) -> str:
        return name


class PackedPlace(LinesPlace):
    """The same, in a file that is packed."""

    def save(self) -> None:
        raw = b"".join(line(name, text) for name, text in self.texts.items())
        self.path.write_bytes(gzip.compress(raw, compresslevel=1))


class TestLines(SourceContract):
    """The contract."""

    @pytest.fixture(params=[LinesPlace, PackedPlace])
    def place(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LinesPlace:
        monkeypatch.setattr(jsonl, "_PAGE", 3)
        name = "docs.jsonl.gz" if request.param is PackedPlace else "docs.jsonl"
        place: LinesPlace = request.param(tmp_path / name)
        return place


def test_every_line_is_a_document_with_its_own_version(make: Make, tmp_path: Path) -> None:
    write(tmp_path, b"\xef\xbb\xbf" + line("a", "first"), b"\n", line(7, "second").replace(b"\n", b"\r\n"))
    source = make()
    items, problems = listing(source)
    assert (sorted(items), problems) == (["7", "a"], [])
    assert source.fetch(items["a"], max_bytes=100).raw == b"first"
    assert source.fetch(items["7"], max_bytes=100).raw == b"second"
    write(tmp_path, line("new"), b"\xef\xbb\xbf"[:0] + line("a", "first"), line(7, "second, changed"))
    again, _ = listing(source)
    assert again["7"].version != items["7"].version


def test_fields_are_mapped_and_dots_lead_into_objects(make: Make, tmp_path: Path) -> None:
    record = {"key": "a", "body": "# Text", "meta": {"name": "A title", "link": "https://example.org/a", "n": 3}}
    write(tmp_path, json.dumps({**record, "readers": ["group:b", "ann"], "tags": ["x", "y"]}).encode())
    names = {"id": "key", "text": "body", "title": "meta.name", "url": "meta.link", "acl": "readers"}
    source = make(
        fields={**names, "version": "meta.n", "metadata": ["tags", "meta.n", "absent"]},
        media_type="text/markdown",
        metadata={"department": "pay"},
    )
    item = listing(source)[0]["a"]
    assert (item.title, item.url, item.version) == ("A title", "https://example.org/a", "3")
    assert (item.acl, item.media_type) == (("ann", "group:b"), "text/markdown")
    assert item.metadata == {"department": "pay", "tags": ["x", "y"], "meta.n": 3}
    assert source.fetch(item, max_bytes=100).raw == b"# Text"


@pytest.mark.parametrize(
    ("value", "acl"),
    [
        (None, None),
        (5, None),
        ([1], None),
        ("[1", None),
        ([], ()),
        ("", ()),
        ("b, a", ("a", "b")),
        ('["a"]', ("a",)),
    ],
)
def test_unknown_principals_hide_a_line_from_everyone(make: Make, tmp_path: Path, value: Any, acl: Any) -> None:
    write(tmp_path, line("a", readers=value))
    assert listing(make(fields={"acl": "readers"}))[0]["a"].acl == acl


def test_a_bad_line_is_a_problem_with_its_number_and_the_others_are_listed(make: Make, tmp_path: Path) -> None:
    bad = [b"{no json\n", b"[1]\n", b'{"text": "no id"}\n', b'{"id": true, "text": "t"}\n', b'{"id": "x"}\n']
    odd = [b'{"id": "y", "text": 5}\n', b'{"id": "\xff", "text": "t"}\n', b'{"id": "a\\u0000", "text": "t"}\n']
    write(tmp_path, line("a"), *bad, *odd, line("a"), line("b"))
    items, problems = listing(make())
    assert sorted(items) == ["a", "b"]
    assert [problem.split(": ")[0] for problem in problems] == [f"docs.jsonl:{n}" for n in range(2, 11)]
    assert "no JSON" in problems[0]
    assert "a JSON object is expected, not list" in problems[1]
    assert "None is no id" in problems[2]
    assert "the field 'text' holds no text" in problems[4]
    assert "the id 'a' stands on an earlier line" in problems[8]


def test_lines_are_bounded_without_being_read(make: Make, tmp_path: Path) -> None:
    write(tmp_path, line("a"), b'{"id": "x", "text": "' + b"x" * 5_000_000 + b'"}\n', line("b"))
    items, problems = listing(make(max_line_bytes=1000))
    assert sorted(items) == ["a", "b"]
    assert problems == ["docs.jsonl:2: the line is over 1,000 bytes (source.max_line_bytes)"]


def test_problems_are_bounded_too(make: Make, tmp_path: Path) -> None:
    write(tmp_path, b"bad\n" * 150, line("a"))
    _, problems = listing(make())
    assert len(problems) == 101
    assert problems[-1] == "50 more lines cannot be read"


def test_a_text_over_the_limit_is_refused(make: Make, tmp_path: Path) -> None:
    write(tmp_path, line("a", "12345"))
    source = make()
    with pytest.raises(DocumentError, match=r"is larger than 4 bytes \(it has 5\)"):
        source.fetch(listing(source)[0]["a"], max_bytes=4)


def test_several_files_share_one_set_of_ids(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path, line("a"), name="data/1.jsonl")
    write(tmp_path, line("a"), line("b"), name="data/2.jsonl")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    items, problems = listing(make("data/*.jsonl"))
    assert sorted(items) == ["a", "b"]
    assert problems == ["data/2.jsonl:1: the id 'a' stands on an earlier line"]
    with pytest.raises(ConfigurationError, match=r"no file 'none/\*\.jsonl' in .*; mend source\.path"):
        listing(make("none/*.jsonl"))


def test_packed_files_are_read_the_same(make: Make, tmp_path: Path) -> None:
    raw = b"".join(line(n) for n in range(50))
    (tmp_path / "docs.jsonl.gz").write_bytes(gzip.compress(raw[:700]) + gzip.compress(raw[700:]))
    source = make("docs.jsonl.gz")
    items, problems = listing(source)
    assert (len(items), problems) == (50, [])
    assert source.fetch(items["42"], max_bytes=100).raw == b"text of 42"
    assert make("docs.jsonl.gz").fetch(items["7"], max_bytes=100).raw == b"text of 7"  # another process


def test_a_packed_file_that_is_damaged_or_a_bomb_is_a_problem(make: Make, tmp_path: Path) -> None:
    packed = gzip.compress(line("a") + line("b") * 1)
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[:-10])
    (tmp_path / "no.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(line("x") + b" " * 50_000_000))
    assert "is damaged or no gzip file" in listing(make("cut.jsonl.gz"))[1][-1]
    assert "is damaged or no gzip file" in listing(make("no.jsonl.gz"))[1][-1]
    items, problems = listing(make("bomb.jsonl.gz", max_unpacked_bytes=2_000_000))
    assert "x" not in items or problems
    assert "is over 2,000,000 bytes when unpacked" in problems[-1]


def pages_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_PAGE", 2)


def test_a_listing_goes_on_after_a_break(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages_of_two(monkeypatch)
    write(tmp_path, line("a"), b"bad\n", line("b"), line("c"), line("a"), line("d"), line("e"))
    whole = [item.uri for page in make().pages(None, None) for item in page.items]
    first = next(make().pages(None, None))
    rest = list(make().pages(json.loads(json.dumps(first.checkpoint)), None))
    assert [*(i.uri for i in first.items), *(i.uri for page in rest for i in page.items)] == whole
    assert [p for page in rest for p in page.problems] == ["docs.jsonl:5: the id 'a' stands on an earlier line"]
    write(tmp_path, line("z"), line("a"), line("b"))
    anew = [item.uri for page in make().pages(first.checkpoint, None) for item in page.items]
    assert anew == ["z", "a", "b"]


def test_a_file_that_is_written_while_it_is_read_is_an_incomplete_listing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages_of_two(monkeypatch)
    path = write(tmp_path, line("a"), line("b"), line("c"))
    source = make()
    pages = source.pages(None, None)
    got: list[Page] = [next(pages)]
    with path.open("ab") as file:
        file.write(line("d"))
    os.utime(path, ns=(0, 0))  # a clock that ran backwards
    got += pages
    assert got[-1].problems == ("docs.jsonl: was written while it was read; the next sync reads it anew",)


def test_a_line_that_moved_since_it_was_listed_is_found_again(make: Make, tmp_path: Path) -> None:
    write(tmp_path, line("a", "one"), line("b", "two", readers=["ann"]))
    source = make(fields={"acl": "readers"})
    items, _ = listing(source)
    write(tmp_path, line("c", "two"), line("b", "two, later"), line("a", "one"))
    fetched = source.fetch(items["b"], max_bytes=100)
    assert (fetched.raw, fetched.acl) == (b"two, later", ())
    path = write(tmp_path, line("a", "one"))
    with pytest.raises(DocumentGoneError, match="no line has its id any more"):
        source.fetch(items["b"], max_bytes=100)
    path.unlink()
    with pytest.raises(SourceError, match=r"'docs\.jsonl' cannot be read: No such file"):
        source.fetch(items["a"], max_bytes=100)


def test_lines_that_are_appended_leave_the_others_where_they_are(make: Make, tmp_path: Path) -> None:
    path = write(tmp_path, line("a", "one"))
    source = make()
    items, _ = listing(source)
    with path.open("ab") as file:
        file.write(line("b"))
    assert source.fetch(items["a"], max_bytes=100).raw == b"one"


def test_who_may_read_is_said_once() -> None:
    with pytest.raises(ValidationError, match=r"either acl for all, or fields\.acl for each"):
        JsonLinesSource.model_validate({"type": "jsonl", "path": "x"})
