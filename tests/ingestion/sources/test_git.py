"""Git as a source: real repositories, local and over git's own smart HTTP server on loopback."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmops.errors import (
    ConfigurationError,
    DocumentError,
    DocumentGoneError,
    SourceDeniedError,
    SourceError,
)
from llmops.ingestion.sources.git import GitRepository
from llmops.ingestion.sources.git_program import Git
from llmops.ingestion.sources.protocol import Item, Page, Source
from llmops.ingestion.sources.specs_data import GitSource
from tests.ingestion.sources.contract import LIMIT, Place, SourceContract, listing

TOKEN = "a-secret-token"
_AUTHOR = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
_PROTOCOL = ("-c", "protocol.file.allow=always")


def git(folder: Path, *arguments: str, data: bytes | None = None) -> str:
    done = subprocess.run(
        ["git", *_AUTHOR, *_PROTOCOL, *arguments],
        cwd=folder,
        input=data,
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
    )
    return done.stdout.decode().strip()


def commit(folder: Path, files: dict[str, str | bytes | None]) -> str:
    """Write (or, for None, remove) files and commit them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "a change")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "wiki"
    folder.mkdir()
    git(folder, "init", "-q")
    commit(folder, {"readme.md": "# Wiki", "docs/a.md": "# A", "docs/deep/b.md": "# B", "docs/logo.svg": "<svg/>"})
    return folder


def make(url: str, state: Path, **fields: Any) -> GitRepository:
    spec = GitSource.model_validate({"type": "git", "url": url, "acl": ("everyone",), **fields})
    return GitRepository(spec, str(state / "wiki.yaml"), state / "state")


@pytest.fixture
def opened(repository: Path, tmp_path: Path) -> Iterator[GitRepository]:
    source = make("wiki", tmp_path, include=("**/*.md",))
    yield source
    source.close()


def items(source: GitRepository) -> dict[str, Item]:
    return {item.uri: item for page in source.pages(None, None) for item in page.items}


def refused(url: str, said: str, **fields: Any) -> None:
    with pytest.raises(ValidationError, match=said):
        GitSource.model_validate({"type": "git", "url": url, "acl": ("everyone",), **fields})


class GitPlace:
    """The contract's documents as files of a repository."""

    def __init__(self, folder: Path, url: str = "wiki") -> None:
        self.folder, self.url = folder, url
        folder.mkdir()
        git(folder, "init", "-q")
        commit(folder, {})

    def open(self) -> GitRepository:
        return make(self.url, self.folder.parent)

    def write(self, name: str, text: str) -> None:
        commit(self.folder, {self.uri(name): text})

    def remove(self, name: str) -> None:
        commit(self.folder, {self.uri(name): None})

    def uri(self, name: str) -> str:
        return f"docs/{name[0]}/{name}.md"


class GitContract(SourceContract):
    """A commit never changes: what was listed can be read as it was, whatever was committed since."""

    @pytest.fixture(autouse=True)
    def _small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("llmops.ingestion.sources.git._PAGE", 3)

    def test_a_document_that_changed_after_the_listing_comes_with_its_newer_version(
        self, filled: Place, source: Source
    ) -> None:
        item = listing(source).items[filled.uri("golf")]
        filled.write("golf", "Newer than the listing.")
        fetched = source.fetch(item, max_bytes=LIMIT)
        assert (fetched.raw, fetched.version) == (b"The text of golf.", item.version)

    def test_a_document_that_went_after_the_listing_is_gone(self, filled: Place, source: Source) -> None:
        item = listing(source).items[filled.uri("golf")]
        filled.remove("golf")
        assert source.fetch(item, max_bytes=LIMIT).raw == b"The text of golf."


class TestLocalRepository(GitContract):
    """A repository of this machine."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> GitPlace:
        return GitPlace(tmp_path / "wiki")


class TestRemoteRepository(GitContract):
    """A repository behind HTTP."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[GitPlace]:
        with serving(tmp_path) as server:
            yield GitPlace(tmp_path / "wiki", server.url)


def test_a_file_is_listed_with_its_blob_as_version_and_read_back(opened: GitRepository, repository: Path) -> None:
    listed = items(opened)
    assert sorted(listed) == ["docs/a.md", "docs/deep/b.md", "readme.md"]
    one = listed["docs/a.md"]
    assert one.version == git(repository, "rev-parse", "HEAD:docs/a.md")
    assert (one.n_bytes, one.acl) == (3, ("everyone",))
    fetched = opened.fetch(one, max_bytes=100)
    assert fetched.raw == b"# A"
    assert fetched.metadata == {"commit": git(repository, "rev-parse", "HEAD")}


def test_only_what_changed_has_another_version(opened: GitRepository, repository: Path) -> None:
    before = items(opened)
    commit(repository, {"docs/a.md": "# A, again", "readme.md": None, "docs/c.md": "# C"})
    after = items(opened)
    assert {uri for uri in after if uri not in before or before[uri].version != after[uri].version} == {
        "docs/a.md",
        "docs/c.md",
    }
    assert "readme.md" not in after


def test_the_commit_of_the_last_sync_has_no_changes(opened: GitRepository, repository: Path) -> None:
    last = list(opened.pages(None, None))[-1].checkpoint
    assert list(opened.pages(None, last)) == [Page(checkpoint=last, is_everything=False)]
    commit(repository, {"new.md": "# New"})
    pages = list(opened.pages(None, last))
    assert all(page.is_everything for page in pages)
    assert "new.md" in {item.uri for page in pages for item in page.items}


def test_a_listing_goes_on_with_the_commit_it_began_with(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmops.ingestion.sources.git._PAGE", 2)
    source = make("wiki", tmp_path)
    whole = [item.uri for page in source.pages(None, None) for item in page.items]
    first = next(source.pages(None, None))
    commit(repository, {"aaa.md": "# Earlier than all", "docs/deep/b.md": None})
    rest = [item.uri for page in source.pages(first.checkpoint, None) for item in page.items]
    assert [item.uri for item in first.items] + rest == whole
    source.close()


def test_a_file_that_is_gone_from_the_branch_is_still_read_as_it_was_listed(
    opened: GitRepository, repository: Path
) -> None:
    listed = items(opened)
    commit(repository, {"docs/a.md": "changed while the source was read"})
    assert opened.fetch(listed["docs/a.md"], max_bytes=100).raw == b"# A"


def test_a_blob_that_the_repository_lost_is_gone(opened: GitRepository, repository: Path) -> None:
    one = items(opened)["docs/a.md"]
    (repository / ".git" / "objects" / one.version[:2] / one.version[2:]).unlink()
    with pytest.raises(DocumentGoneError, match="history was rewritten"):
        opened.fetch(one, max_bytes=100)


def test_a_branch_a_tag_and_a_commit_can_be_named(repository: Path, tmp_path: Path) -> None:
    old = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "-a", "v1", "-m", "first")
    git(repository, "branch", "release/1")
    commit(repository, {"new.md": "# New"})
    for ref in ("v1", "release/1", old):
        source = make("wiki", tmp_path, ref=ref)
        assert "new.md" not in items(source)
        source.close()
    with pytest.raises(SourceError, match=r"has no branch, tag or commit .v2.; mend source\.ref"):
        items(make("wiki", tmp_path, ref="v2"))


def test_a_path_narrows_the_files_and_is_where_globs_begin(repository: Path, tmp_path: Path) -> None:
    source = make("wiki", tmp_path, path="docs/", include=("*.md", "deep/*"), exclude=("a*",))
    assert sorted(items(source)) == ["docs/deep/b.md"]
    with pytest.raises(SourceError, match="git ls-tree failed"):
        items(make("wiki", tmp_path, path="gone"))


def test_links_submodules_and_lfs_pointers_are_listed_and_refused_with_their_reason(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "link.md").symlink_to("/etc/passwd")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    commit(repository, {"big.bin": pointer})
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor/lib")
    git(repository, "commit", "-q", "-m", "a submodule")
    source = make("wiki", tmp_path)
    listed = items(source)
    for name, said in (
        ("link.md", "is a symbolic link, which is not followed"),
        ("vendor/lib", "is a submodule at 111111111111; connect its repository"),
        ("big.bin", "is a Git LFS pointer, not the file itself"),
    ):
        with pytest.raises(DocumentError, match=said):
            source.fetch(listed[name], max_bytes=1000)
    source.close()


def test_a_file_over_the_limit_is_refused_before_it_is_read(opened: GitRepository) -> None:
    with pytest.raises(DocumentError, match=r"is larger than 2 bytes \(it has 3\)"):
        opened.fetch(items(opened)["docs/a.md"], max_bytes=2)


def test_names_that_are_no_utf8_can_be_read(repository: Path, tmp_path: Path) -> None:
    blob = git(repository, "hash-object", "-w", "--stdin", data=b"latin")
    git(repository, "update-index", "-z", "--index-info", data=f"100644 {blob}\t".encode() + b"caf\xe9\\.md\0")
    git(repository, "commit", "-q", "-m", "an old name")
    source = make("wiki", tmp_path)
    one = items(source)[r"caf\xe9\\.md"]
    assert source.fetch(one, max_bytes=10).raw == b"latin"
    source.close()


def test_a_name_may_hold_line_breaks_and_quotes(repository: Path, tmp_path: Path) -> None:
    commit(repository, {'a "b"\n\tc.md': "odd"})
    source = make("wiki", tmp_path)
    assert source.fetch(items(source)['a "b"\n\tc.md'], max_bytes=10).raw == b"odd"
    source.close()


def test_nothing_of_a_hostile_repository_is_run(repository: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    script = tmp_path / "run.sh"
    script.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    script.chmod(0o755)
    (repository / ".git" / "hooks").mkdir(exist_ok=True)
    for hook in ("post-checkout", "post-merge", "reference-transaction", "post-index-change"):
        (repository / ".git" / "hooks" / hook).write_text(script.read_text())
        (repository / ".git" / "hooks" / hook).chmod(0o755)
    for name in ("core.fsmonitor", "filter.x.smudge", "filter.x.process", "core.sshCommand", "diff.external"):
        git(repository, "config", name, str(script))
    git(repository, "config", "remote.origin.url", f"ext::{script}")
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "extensions.partialClone", "origin")
    (repository / ".gitattributes").write_text("*.md filter=x\n")
    mark.unlink(missing_ok=True)
    source = make("wiki", tmp_path)
    one = items(source)["docs/a.md"]
    assert source.fetch(one, max_bytes=100).raw == b"# A"
    (repository / ".git" / "objects" / one.version[:2] / one.version[2:]).unlink()
    source.close()
    with pytest.raises(DocumentGoneError, match="history was rewritten"):
        source.fetch(one, max_bytes=100)
    source.close()
    assert not mark.exists()


def test_a_folder_inside_a_repository_is_no_repository(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a git repository"):
        items(make("wiki/docs", tmp_path))
    with pytest.raises(ConfigurationError, match=r"no folder '.*missing'; mend source.url"):
        items(make("missing", tmp_path))


def test_an_empty_repository_is_not_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    with pytest.raises(SourceError, match="has no commit yet"):
        items(make("empty", tmp_path))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ext::sh -c touch% /tmp/x", "write https://host/path"),
        ("file:///srv/wiki", "only https:// and ssh:// addresses are fetched"),
        ("git://example.org/wiki", "only https:// and ssh:// addresses are fetched"),
        ("ssh://-oProxyCommand=x/wiki", "only https:// and ssh:// addresses are fetched"),
        ("git@example.org:wiki.git", "write https://host/path or ssh://git@host/path"),
        ("https://me:secret@example.org/wiki", "a secret does not belong in a file"),
        ("https://secret@example.org/wiki", "a secret does not belong in a file"),
        ("http://example.org/wiki", "use https://"),
    ],
)
def test_an_address_that_is_not_safe_is_refused(url: str, said: str) -> None:
    refused(url, said)


def test_a_ref_cannot_be_an_option_and_a_path_cannot_leave() -> None:
    refused("wiki", "String should match pattern", ref="--upload-pack=x")
    refused("wiki", "name a folder of the repository", path="../other")
    refused("wiki", "token_env is for https:// addresses", token_env="TOKEN")


def test_files_link_to_where_a_person_reads_them(repository: Path, tmp_path: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    source = make("wiki", tmp_path, link="https://code.example.org/{ref}/{commit}/{path}?plain={else}")
    commit_link = items(source)["docs/a.md"].url
    assert commit_link == f"https://code.example.org/main/{head}/docs/a.md?plain={{else}}"


class Server(ThreadingHTTPServer):
    """git's own HTTP server; it counts transfers and may want a password."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.token, self.n_transfers, self.authorizations = root, "", 0, set[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/wiki"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        self.server.authorizations.add(self.headers.get("authorization", ""))
        wanted = "Basic " + base64.b64encode(f"git:{self.server.token}".encode()).decode()
        if self.server.token and self.headers.get("authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="wiki"')
            self.end_headers()
            return
        self.server.n_transfers += b"command=fetch" in body
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().splitlines()]
        status = next((int(value.split()[0]) for name, value in lines if name == "Status"), 200)
        self.send_response(status)
        for name, value in lines:
            if name != "Status":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(rest)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (its name above)
        pass


@pytest.fixture
def server(repository: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as running:
        yield running


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    running = Server(root)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def test_a_remote_repository_is_fetched_once_and_then_only_asked(
    server: Server, repository: Path, tmp_path: Path
) -> None:
    commit(repository, {"readme.md": "# Second edition"})
    source = make(server.url, tmp_path)
    listed = items(source)
    assert source.fetch(listed["readme.md"], max_bytes=100).raw == b"# Second edition"
    assert server.n_transfers == 1
    last = list(source.pages(None, None))[-1].checkpoint
    assert next(iter(source.pages(None, last))).is_everything is False
    assert server.n_transfers == 1
    store = next((tmp_path / "state").glob("git-*[0-9a-f]"))
    assert git(store, "rev-list", "--count", "refs/llmops/head") == "1"  # no history
    commit(repository, {"docs/a.md": "# A, again"})
    assert source.fetch(items(source)["docs/a.md"], max_bytes=100).raw == b"# A, again"
    assert server.n_transfers == 2
    source.close()


def test_another_process_brings_the_commit_that_was_listed(
    server: Server, repository: Path, tmp_path: Path
) -> None:
    source = make(server.url, tmp_path)
    listed = items(source)
    source.close()
    commit(repository, {"docs/a.md": "# A, again"})
    elsewhere = make(server.url, tmp_path / "elsewhere")
    assert elsewhere.fetch(listed["docs/a.md"], max_bytes=100).raw == b"# A"
    elsewhere.close()


def test_what_a_killed_transfer_left_does_not_stand_in_the_way(server: Server, tmp_path: Path) -> None:
    source = make(server.url, tmp_path)
    source.fetch(next(iter(items(source).values())), max_bytes=100)
    source.close()
    store = next((tmp_path / "state").glob("git-*[0-9a-f]"))
    (store / "shallow.lock").write_text("left")
    (store / "objects" / "pack" / "tmp_pack_left").write_text("left")
    commit(tmp_path / "wiki", {"new.md": "# New"})
    assert "new.md" in items(source)
    assert not list(store.glob("*.lock"))
    source.close()


def test_many_transfers_are_packed_into_one(
    server: Server, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmops.ingestion.sources.git_store._MANY_PACKS", 2)
    source = make(server.url, tmp_path)
    for edition in range(4):
        commit(repository, {"docs/a.md": f"edition {edition}"})
        assert source.fetch(items(source)["docs/a.md"], max_bytes=100).raw == f"edition {edition}".encode()
    packs = next((tmp_path / "state").glob("git-*[0-9a-f]")) / "objects" / "pack"
    assert len(list(packs.glob("*.pack"))) <= 2
    source.close()


def test_branches_tags_and_commits_of_a_remote(server: Server, repository: Path, tmp_path: Path) -> None:
    old = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "-a", "v1", "-m", "first")
    git(repository, "branch", "release/1")
    commit(repository, {"new.md": "# New"})
    for ref in ("v1", "release/1", old):
        source = make(server.url, tmp_path, ref=ref, link="{ref}/{path}")
        listed = items(source)
        assert "new.md" not in listed
        assert listed["readme.md"].url == f"{ref}/readme.md"
        source.close()
    assert items(make(server.url, tmp_path, link="{ref}/{path}"))["readme.md"].url == "main/readme.md"
    with pytest.raises(SourceError, match="has no branch, tag or commit 'v2'"):
        items(make(server.url, tmp_path, ref="v2"))


def test_a_token_is_sent_and_never_shown(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = TOKEN
    with pytest.raises(SourceDeniedError, match="git ls-remote failed"):
        items(make(server.url, tmp_path))
    monkeypatch.setenv("WIKI_TOKEN", "wrong-token")
    with pytest.raises(SourceDeniedError) as caught:
        items(make(server.url, tmp_path, token_env="WIKI_TOKEN"))
    assert "wrong-token" not in str(caught.value)
    monkeypatch.setenv("WIKI_TOKEN", TOKEN)
    source = make(server.url, tmp_path, token_env="WIKI_TOKEN")
    assert "readme.md" in items(source)
    source.close()
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]


def test_a_token_that_is_not_set_is_a_mistake_of_the_setup(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'WIKI_TOKEN' is not set"):
        make("https://example.org/wiki", tmp_path, token_env="WIKI_TOKEN")


def test_a_repository_that_is_away_or_too_large_or_too_slow_is_an_error_of_the_source(
    server: Server, repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="git ls-remote failed"):
        items(make("http://127.0.0.1:1/wiki", tmp_path))
    slow = Git(repository, remote=server.url)
    with pytest.raises(SourceError, match="git ls-remote took more than 0 s"):
        slow.ask("ls-remote", server.url, timeout_s=0)


def test_a_repository_over_the_limit_is_not_kept(server: Server, repository: Path, tmp_path: Path) -> None:
    commit(repository, {"heavy.bin": os.urandom(200_000)})
    with pytest.raises(SourceError, match=r"more than 100,000 bytes; raise source\.max_repository_bytes"):
        items(make(server.url, tmp_path, max_repository_bytes=100_000))
    assert not list((tmp_path / "state").glob("git-*[0-9a-f]"))
    assert "heavy.bin" in items(make(server.url, tmp_path))


def test_a_transfer_is_stopped_while_it_brings_too_much(repository: Path) -> None:
    (repository / "heavy.bin").write_bytes(os.urandom(200_000))
    with pytest.raises(SourceError, match=r"more than 100,000 bytes; raise source\.max_repository_bytes"):
        Git(repository).ask("-c", "alias.wait=!sleep 60", "wait", max_bytes=100_000)
