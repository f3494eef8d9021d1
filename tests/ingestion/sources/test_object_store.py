"""Object stores as sources: an S3 server on loopback, and stores that fsspec opens."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from llmops.errors import (
    ConfigurationError,
    DocumentError,
    DocumentGoneError,
    SourceDeniedError,
    SourceError,
)
from llmops.ingestion.sources.object_store import ObjectStore
from llmops.ingestion.sources.object_store_s3 import _answered
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.sources.specs_data import ObjectStoreSource
from tests.ingestion.sources.contract import SourceContract

Put = Callable[[str, bytes | None], None]
Make = Callable[..., ObjectStore]


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module")
def s3(s3_server: str) -> Iterator[Any]:
    boto3 = pytest.importorskip("boto3")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
        yield client
        client.close()


@pytest.fixture(params=["s3", "memory", "file"])
def somewhere(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], Put]:
    """A store's spec, and what writes (or, with None, removes) an object in it."""
    if request.param == "s3":
        client, bucket = request.getfixturevalue("s3"), f"wiki-{uuid4().hex}"
        client.create_bucket(Bucket=bucket)

        def put_s3(name: str, raw: bytes | None) -> None:
            key = f"docs/{name}"
            if raw is None:
                client.delete_object(Bucket=bucket, Key=key)
            else:
                client.put_object(Bucket=bucket, Key=key, Body=raw)

        client.put_object(Bucket=bucket, Key="docs-old/x.md", Body=b"another prefix")
        endpoint = request.getfixturevalue("s3_server")
        return {"url": f"s3://{bucket}/docs", "endpoint_url": endpoint}, put_s3
    fsspec = pytest.importorskip("fsspec")
    root = f"/{uuid4().hex}/docs" if request.param == "memory" else str(tmp_path / "docs")
    files = fsspec.filesystem(request.param)
    files.makedirs(root)

    def put(name: str, raw: bytes | None) -> None:
        if raw is None:
            files.rm(f"{root}/{name}")
            return
        files.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        files.pipe_file(f"{root}/{name}", raw)

    return {"url": f"{request.param}://{root}"}, put


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[ObjectStore] = []

    def source(given: dict[str, Any], **fields: Any) -> ObjectStore:
        spec = {"type": "object_store", "acl": ["everyone"], **given, **fields}
        made.append(ObjectStore(ObjectStoreSource.model_validate_json(json.dumps(spec))))
        return made[-1]

    yield source
    for one in made:
        one.close()


def listing(source: ObjectStore) -> tuple[dict[str, Item], list[str]]:
    pages = list(source.pages(None, None))
    assert all(page.is_everything for page in pages)
    return {item.uri: item for page in pages for item in page.items}, [p for page in pages for p in page.problems]


class BucketPlace:
    """The contract's documents as objects."""

    def __init__(self, given: dict[str, Any], put: Put) -> None:
        self.given, self.put = given, put

    def open(self) -> ObjectStore:
        spec = {"type": "object_store", "acl": ("everyone",), **self.given}
        return ObjectStore(ObjectStoreSource.model_validate(spec))

    def write(self, name: str, text: str) -> None:
        self.put(self.uri(name), text.encode())

    def remove(self, name: str) -> None:
        self.put(self.uri(name), None)

    def uri(self, name: str) -> str:
        return f"{name[0]}/{name}.md"


class TestObjects(SourceContract):
    """The contract."""

    @pytest.fixture
    def place(self, somewhere: tuple[dict[str, Any], Put], monkeypatch: pytest.MonkeyPatch) -> BucketPlace:
        monkeypatch.setattr("llmops.ingestion.sources.object_store_fsspec._BATCH", 3)
        monkeypatch.setattr("llmops.ingestion.sources.object_store_s3._BATCH", 3)
        return BucketPlace(*somewhere)


def test_objects_below_the_address_are_listed_and_read(somewhere: tuple[dict[str, Any], Put], make: Make) -> None:
    given, put = somewhere
    for name in ("a.md", "deep/er/b.md", "deep/é #1?.md", "logo.svg", "deep/c.txt"):
        put(name, f"text of {name}".encode())
    source = make(given, include=["**/*.md"], exclude=["a.*"], link="https://files.example.org/{path}")
    items, problems = listing(source)
    assert (sorted(items), problems) == (["deep/er/b.md", "deep/é #1?.md"], [])
    one = items["deep/é #1?.md"]
    assert one.url == "https://files.example.org/deep/%C3%A9%20%231%3F.md"
    assert one.n_bytes == len("text of deep/é #1?.md".encode())
    fetched = source.fetch(one, max_bytes=100)
    assert fetched.raw.decode() == "text of deep/é #1?.md"
    assert one.version
    assert fetched.version == one.version


def test_what_changes_has_another_version_and_what_goes_is_gone(
    somewhere: tuple[dict[str, Any], Put], make: Make
) -> None:
    given, put = somewhere
    for name in ("a.md", "b.md", "c.md"):
        put(name, b"one")
    source = make(given)
    before, _ = listing(source)
    assert listing(source)[0] == before
    put("a.md", b"two")
    put("b.md", None)
    after, _ = listing(source)
    assert {uri for uri in after if after[uri].version != before[uri].version} == {"a.md"}
    assert sorted(after) == ["a.md", "c.md"]
    fetched = source.fetch(before["a.md"], max_bytes=100)
    assert fetched.raw == b"two"
    assert fetched.version == after["a.md"].version
    with pytest.raises(DocumentGoneError, match=r"any more"):
        source.fetch(before["b.md"], max_bytes=100)


def test_an_object_over_the_limit_is_not_transferred(somewhere: tuple[dict[str, Any], Put], make: Make) -> None:
    given, put = somewhere
    put("a.md", b"12345")
    source = make(given)
    item = listing(source)[0]["a.md"]
    with pytest.raises(DocumentError, match=r"is larger than 4 bytes \(it has 5\)"):
        source.fetch(item, max_bytes=4)
    put("a.md", b"x" * 3_000_000)  # it grew after it was listed
    with pytest.raises(DocumentError, match=r"is larger than 1,000 bytes \(it has 3,000,000\)"):
        source.fetch(item, max_bytes=1000)


def test_a_listing_goes_on_after_a_break(
    somewhere: tuple[dict[str, Any], Put], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, put = somewhere
    for name in ("b/1.md", "b/2.md", "a.md", "b.md", "c/1.md", "c/d/1.md", "d.md"):
        put(name, b"text")
    monkeypatch.setattr("llmops.ingestion.sources.object_store_fsspec._BATCH", 1)
    monkeypatch.setattr("llmops.ingestion.sources.object_store_s3._BATCH", 1)
    source = make(given)
    whole = [item.uri for page in source.pages(None, None) for item in page.items]
    assert sorted(whole) == ["a.md", "b.md", "b/1.md", "b/2.md", "c/1.md", "c/d/1.md", "d.md"]
    for n, page in enumerate(source.pages(None, None), start=1):
        if len(page.items) == 1:
            at = json.loads(json.dumps(page.checkpoint))
            assert [item.uri for rest in source.pages(at, None) for item in rest.items] == whole[n:]


def test_a_place_that_is_not_there_is_not_an_empty_one(somewhere: tuple[dict[str, Any], Put], make: Make) -> None:
    given, put = somewhere
    put("a.md", b"text")
    gone = given["url"].replace("wiki-", "gone-") if given["url"].startswith("s3") else given["url"] + "-gone"
    with pytest.raises(SourceError, match=r"any more|does not exist"):
        listing(make({**given, "url": gone}))


def test_a_long_listing_of_a_bucket_is_paged(
    s3: Any, s3_server: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmops.ingestion.sources.object_store_s3._BATCH", 4)
    bucket = f"many-{uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="folder/", Body=b"")  # what consoles make for a folder
    for n in range(9):
        s3.put_object(Bucket=bucket, Key=f"{n}.txt", Body=b"")
    source = make({"url": f"s3://{bucket}", "endpoint_url": s3_server})
    pages = list(source.pages(None, None))
    assert [len(page.items) for page in pages] == [4, 4, 1]
    rest = list(source.pages(pages[0].checkpoint, None))
    assert [item.uri for page in rest for item in page.items] == [f"{n}.txt" for n in range(4, 9)]


def test_a_store_without_credentials_or_away(s3_server: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SourceDeniedError, match="there are no credentials for 'wiki'"):
        listing(make({"url": "s3://wiki", "endpoint_url": s3_server}))
    away = make({"url": "s3://wiki", "endpoint_url": "http://127.0.0.1:1", "anonymous": True})
    with pytest.raises(SourceError, match="'wiki' cannot be reached"):
        listing(away)
    with pytest.raises(ConfigurationError, match=r"cannot be opened: Parameter validation failed"):
        listing(make({"url": "s3://no bucket", "endpoint_url": s3_server, "anonymous": True}))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NoSuchKey", DocumentGoneError),
        ("InvalidObjectState", DocumentError),
        ("ExpiredToken", SourceDeniedError),
        ("AccessDenied", SourceDeniedError),
        ("NoSuchBucket", SourceError),
        ("SlowDown", SourceError),
    ],
)
def test_what_a_bucket_answers_is_told_apart(code: str, kind: type[Exception]) -> None:
    assert type(_answered({"Error": {"Code": code, "Message": "no"}}, "wiki")) is kind


def test_links_of_a_folder_are_not_followed_and_names_must_be_text(tmp_path: Path, make: Make) -> None:
    root = tmp_path / "docs"
    (root / "sub").mkdir(parents=True)
    (root / "loop").symlink_to(root)
    (root / "link.md").symlink_to("/etc/passwd")
    (root / "sub" / "b.md").write_text("b")
    os.mkfifo(root / "pipe")
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.md")).write_text("x")
    source = make({"url": f"file://{root}"})
    items, problems = listing(source)
    assert sorted(items) == ["link.md", "loop", "sub/b.md"]
    assert problems == [r"'caf\udce9.md': the name is not UTF-8; rename the object"]
    with pytest.raises(DocumentError, match="is a symbolic link, which is not followed"):
        source.fetch(items["link.md"], max_bytes=100)
    (root / "sub" / "b.md").unlink()
    (root / "sub" / "b.md").symlink_to("/etc/passwd")
    with pytest.raises(DocumentGoneError, match="is no file any more"):
        source.fetch(items["sub/b.md"], max_bytes=10_000)


def test_a_time_that_is_set_back_does_not_hide_a_change(tmp_path: Path, make: Make) -> None:
    path = tmp_path / "a.md"
    path.write_text("one")
    source = make({"url": f"file://{tmp_path}"})
    before, info = listing(source)[0]["a.md"], path.stat()
    path.write_text("two")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert listing(source)[0]["a.md"].version != before.version


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "zip://x::s3://wiki/a.zip"}, "an address within another is not opened"),
        ({"url": "https://example.org/docs"}, "web sites are of type web"),
        ({"url": "s3://wiki", "options": {"key": "x"}}, "s3:// takes endpoint_url, region and anonymous"),
        ({"url": "memory://wiki", "region": "x"}, "are for s3://; use options"),
    ],
)
def test_an_address_that_does_not_fit_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ObjectStoreSource.model_validate({"type": "object_store", "acl": ("everyone",), **given})


def test_a_store_whose_package_is_missing_says_which(make: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"'nosuch://wiki' cannot be opened: .*nosuch"):
        make({"url": "nosuch://wiki"})
