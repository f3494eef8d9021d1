"""LangChain loaders as a source: loaders of langchain-community, and one of our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

pytest.importorskip("langchain_core", reason="langchain-core is not installed")

from llmops.errors import ConfigurationError, DocumentError, DocumentGoneError, SourceError
from llmops.ingestion.sources import langchain_loader
from llmops.ingestion.sources.langchain_loader import LangChainDocuments
from llmops.ingestion.sources.protocol import Source
from llmops.ingestion.sources.specs_data import LangChainSource
from tests.ingestion.sources.contract import LIMIT, Place, SourceContract, listing

OWN = "tests.ingestion.sources.loaders.FolderOfJson"
Make = Callable[..., LangChainDocuments]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[LangChainDocuments] = []

    def source(loader: str = OWN, environment: dict[str, str] | None = None, **fields: Any) -> LangChainDocuments:
        given = {"type": "langchain", "loader": loader, "arguments": {"folder": "{here}/data"}, **fields}
        spec = LangChainSource.model_validate_json(
            json.dumps({**({} if "acl_key" in given else {"acl": ["everyone"]}), **given})
        )
        made.append(LangChainDocuments(spec, str(tmp_path / "docs.yaml"), environment or {}))
        return made[-1]

    (tmp_path / "data").mkdir()
    yield source
    for one in made:
        one.close()


def write(folder: Path, name: str, text: str, **metadata: Any) -> None:
    (folder / "data" / f"{name}.json").write_text(json.dumps({"page_content": text, "metadata": metadata}))


class LoaderPlace:
    """The contract's documents behind our own loader."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data").mkdir()

    def open(self) -> LangChainDocuments:
        spec = LangChainSource(
            type="langchain", loader=OWN, arguments={"folder": "{here}/data"}, acl=("everyone",)
        )
        return LangChainDocuments(spec, str(self.folder / "docs.yaml"), {})

    def write(self, name: str, text: str) -> None:
        write(self.folder, name, text, source=name)

    def remove(self, name: str) -> None:
        (self.folder / "data" / f"{name}.json").unlink()

    def uri(self, name: str) -> str:
        return name


class TestLoader(SourceContract):
    """The contract. What was loaded for the listing is what is fetched, until the source is opened anew."""

    resumes = False

    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoaderPlace:
        monkeypatch.setattr(langchain_loader, "_PAGE", 3)
        return LoaderPlace(tmp_path)

    def test_a_document_that_changed_after_the_listing_comes_with_its_newer_version(
        self, filled: Place, source: Source
    ) -> None:
        item = listing(source).items[filled.uri("golf")]
        filled.write("golf", "Newer than the listing.")
        assert source.fetch(item, max_bytes=LIMIT).raw == b"The text of golf."
        another = filled.open()
        fetched = another.fetch(item, max_bytes=LIMIT)
        another.close()
        assert fetched.raw == b"Newer than the listing."
        assert fetched.version == listing(source).items[filled.uri("golf")].version != item.version

    def test_a_document_that_went_after_the_listing_is_gone(self, filled: Place, source: Source) -> None:
        item = listing(source).items[filled.uri("golf")]
        filled.remove("golf")
        assert source.fetch(item, max_bytes=LIMIT).raw == b"The text of golf."
        another = filled.open()
        with pytest.raises(DocumentGoneError, match="does not yield it any more"):
            another.fetch(item, max_bytes=LIMIT)
        another.close()
        listing(source)
        with pytest.raises(DocumentGoneError, match="does not yield it any more"):
            source.fetch(item, max_bytes=LIMIT)


def test_rows_of_a_table_through_a_loader_of_the_community(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("langchain_community")
    (tmp_path / "fees.csv").write_text("item,fee\nbook,20 cents\nfilm,50 cents\n")
    arguments = {"file_path": "{here}/fees.csv", "metadata_columns": ["item"]}
    source = make("langchain_community.document_loaders.CSVLoader", arguments=arguments, metadata={"team": "desk"})
    items = listing(source).items
    assert sorted(items) == ["fees.csv", "fees.csv#2"]
    assert items["fees.csv#2"].metadata == {"row": 1, "item": "film", "team": "desk"}
    assert source.fetch(items["fees.csv#2"], max_bytes=LIMIT).raw == b"fee: 50 cents"


def test_a_page_and_a_text_through_loaders_of_the_community(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("langchain_community")
    (tmp_path / "page.html").write_text("<html><head><title>Hours</title></head><body>Nine to six.</body></html>")
    arguments = {"file_path": "{here}/page.html", "bs_kwargs": {"features": "lxml"}}
    source = make("langchain_community.document_loaders.BSHTMLLoader", arguments=arguments)
    item = listing(source).items["page.html"]
    assert item.title == "Hours"
    assert b"Nine to six." in source.fetch(item, max_bytes=LIMIT).raw
    missing = make("langchain_community.document_loaders.TextLoader", arguments={"file_path": "{here}/none.txt"})
    with pytest.raises(SourceError, match=r"TextLoader failed: RuntimeError: Error loading .*none\.txt"):
        listing(missing)


def test_names_principals_and_links_come_from_the_metadata(make: Make, tmp_path: Path) -> None:
    write(tmp_path, "1", "one", source="https://example.org/1", key="a", title="One", readers=["ann", "group:b"])
    write(tmp_path, "2", "two", source="https://example.org/2", key="b", readers="bob, cat")
    write(tmp_path, "3", "three", key="c")
    write(tmp_path, "4", "four", key="a")
    write(tmp_path, "5", "five")
    source = make(id_key="key", acl_key="readers", media_type="text/markdown")
    found = listing(source)
    assert {uri: item.acl for uri, item in found.items.items()} == {
        "a": ("ann", "group:b"),
        "b": ("bob", "cat"),
        "c": None,
    }
    one = found.items["a"]
    assert (one.title, one.url, one.media_type) == ("One", "https://example.org/1", "text/markdown")
    assert one.metadata == {"key": "a"}
    assert found.problems == [
        f"document 4 of {OWN}: another document has its name 'a'",
        f"document 5 of {OWN}: None is no id; a text or a whole number is one",
    ]


def test_a_change_of_metadata_is_a_change(make: Make, tmp_path: Path) -> None:
    write(tmp_path, "1", "one", source="a", year=2025)
    source = make()
    before = listing(source).items["a"]
    write(tmp_path, "1", "one", source="a", year=2026)
    assert listing(source).items["a"].version != before.version


def test_a_loader_that_fails_half_way_is_never_a_shorter_listing(make: Make, tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path, name, name, source=name)
    secrets: dict[str, Any] = {"secrets": {"key": "LOADER_KEY"}, "environment": {"LOADER_KEY": "hush-hush"}}
    source = make(arguments={"folder": "{here}/data", "fail_after": 2}, **secrets)
    with pytest.raises(SourceError, match=r"FolderOfJson failed: RuntimeError: the key … is not accepted"):
        listing(source)


def test_a_text_over_the_limit_is_refused(make: Make, tmp_path: Path) -> None:
    write(tmp_path, "a", "12345", source="a")
    source = make()
    with pytest.raises(DocumentError, match=r"is larger than 4 bytes \(it has 5\)"):
        source.fetch(listing(source).items["a"], max_bytes=4)


@pytest.mark.parametrize(
    ("loader", "arguments", "said"),
    [
        ("os.system", {}, "'os.system' is no LangChain document loader"),
        ("tests.ingestion.sources.loaders.Imposter", {}, "is no LangChain document loader"),
        ("no.such.module.Loader", {}, "'no.such.module' cannot be imported"),
        (OWN, {"wrong": 1}, "cannot be made: TypeError: .*; mend source.arguments"),
    ],
)
def test_what_is_no_loader_is_refused(make: Make, loader: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make(loader, arguments=arguments)


def test_a_secret_that_is_not_set_is_a_mistake_of_the_setup(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="'LOADER_KEY' is not set"):
        make(secrets={"key": "LOADER_KEY"})


def test_who_may_read_is_said_once() -> None:
    with pytest.raises(ValidationError, match="either acl for all, or acl_key for each"):
        LangChainSource.model_validate({"type": "langchain", "loader": OWN})
