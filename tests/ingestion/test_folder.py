"""What a folder holds: its globs, its links, its odd names; an incomplete listing says so."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from llmops.errors import DocumentError, SpecError
from llmops.ingestion.folder import Listing, fetch, list_folder
from llmops.ingestion.spec import FolderSource


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"text of {name}")
    return root


def listed(
    root: Path, include: Sequence[str] = ("**/*",), exclude: Sequence[str] = (), *, follow: bool = False
) -> Listing:
    source = FolderSource(
        type="folder",
        path=".",
        include=tuple(include),
        exclude=tuple(exclude),
        acl=("everyone",),
        follow_symlinks=follow,
    )
    return list_folder(source, root, spec_file="ingestion/docs.yaml")


def uris(listing: Listing) -> list[str]:
    assert listing.problems == []
    return [file.uri for file in listing.files]


def test_files_come_in_the_order_of_their_path_with_their_size(tmp_path: Path) -> None:
    made(tmp_path, "b.md", "a/z.md", "a/b/c.md", "a.md")
    listing = listed(tmp_path)
    assert uris(listing) == ["a.md", "a/b/c.md", "a/z.md", "b.md"]
    assert listing.files[0].n_bytes == len("text of a.md")


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        (["**/*"], [], ["a.md", "a.txt", "x/a.md", "x/y/b.md"]),
        (["*.md"], [], ["a.md"]),
        (["**/*.md"], [], ["a.md", "x/a.md", "x/y/b.md"]),
        (["x/**"], [], ["x/a.md", "x/y/b.md"]),
        (["x/*"], [], ["x/a.md"]),
        (["**/y/*"], [], ["x/y/b.md"]),
        (["?.md", "*.txt"], [], ["a.md", "a.txt"]),
        (["**/*"], ["**/*.md"], ["a.txt"]),
        (["**/*.md"], ["x/**/*"], ["a.md"]),
        (["a.m"], [], []),
        (["A.md", "[ab].md", "a+md"], [], []),
    ],
)
def test_globs_choose(include: list[str], exclude: list[str], left: list[str], tmp_path: Path) -> None:
    made(tmp_path, "a.md", "a.txt", "x/a.md", "x/y/b.md")
    assert uris(listed(tmp_path, include, exclude)) == left


def test_hidden_files_and_folders_are_not_documents(tmp_path: Path) -> None:
    made(tmp_path, ".env", ".git/config", "a/.b/c.md", "a/d.md")
    assert uris(listed(tmp_path)) == ["a/d.md"]


def test_links_out_of_the_folder_are_followed_only_when_asked(tmp_path: Path) -> None:
    outside = made(tmp_path / "outside", "secret.md", "sub/more.md")
    inside = made(tmp_path / "inside", "a.md")
    (inside / "link.md").symlink_to(outside / "secret.md")
    (inside / "folder").symlink_to(outside / "sub")
    (inside / "near.md").symlink_to(inside / "a.md")
    assert uris(listed(inside)) == ["a.md", "near.md"]
    assert uris(listed(inside, follow=True)) == ["a.md", "folder/more.md", "link.md", "near.md"]


@pytest.mark.timeout(20)
def test_a_link_to_the_folder_above_ends(tmp_path: Path) -> None:
    made(tmp_path, "a.md", "sub/b.md")
    (tmp_path / "sub/up").symlink_to(tmp_path)
    assert uris(listed(tmp_path, follow=True)) == ["a.md", "sub/b.md"]


@pytest.mark.parametrize("follow", [False, True])
def test_a_link_to_itself_or_to_nothing_makes_the_listing_incomplete(follow: bool, tmp_path: Path) -> None:
    made(tmp_path, "a.md")
    (tmp_path / "loop.md").symlink_to("loop.md")
    (tmp_path / "gone.md").symlink_to("nowhere.md")
    listing = listed(tmp_path, follow=follow)
    assert [file.uri for file in listing.files] == ["a.md"]
    assert sorted(listing.problems) == [
        "gone.md: No such file or directory",
        "loop.md: Too many levels of symbolic links",
    ]


def test_a_name_that_is_no_utf8_makes_the_listing_incomplete(tmp_path: Path) -> None:
    made(tmp_path, "grün.md", "日本.md")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md"))).write_text("x")
    listing = listed(tmp_path)
    assert [file.uri for file in listing.files] == ["grün.md", "日本.md"]
    assert listing.problems == ["'caf\\udce9.md': the name is not UTF-8; rename the file"]


def test_what_is_neither_file_nor_folder_is_left_out(tmp_path: Path) -> None:
    made(tmp_path, "a.md")
    os.mkfifo(tmp_path / "pipe.md")
    assert uris(listed(tmp_path)) == ["a.md"]


def test_a_folder_that_is_missing_is_a_mistake_of_the_spec(tmp_path: Path) -> None:
    said = re.escape(f"ingestion/docs.yaml: source.path: no folder {str(tmp_path / 'none')!r}; mend the path")
    with pytest.raises(SpecError, match=said):
        listed(tmp_path / "none")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_a_mistake_or_a_problem(tmp_path: Path) -> None:
    made(tmp_path, "sub/a.md")
    (tmp_path / "sub").chmod(0)
    try:
        assert listed(tmp_path).problems == [f"{tmp_path / 'sub'}: Permission denied"]
        with pytest.raises(SpecError, match="cannot be read; check its permissions"):
            listed(tmp_path / "sub")
    finally:
        (tmp_path / "sub").chmod(0o700)


def test_a_file_is_fetched_with_its_hash(tmp_path: Path) -> None:
    [file] = listed(made(tmp_path, "a.md")).files
    raw, content_hash = fetch(file, max_bytes=100)
    assert raw == b"text of a.md"
    assert content_hash == hashlib.sha256(raw).hexdigest()


def test_a_file_that_is_too_large_or_gone_is_an_error_of_the_document(tmp_path: Path) -> None:
    [file] = listed(made(tmp_path, "a.md")).files
    os.truncate(file.path, 3_000_000)
    [grown] = listed(tmp_path).files
    with pytest.raises(DocumentError, match=r"has 3,000,000 bytes; at most 2,000,000 are read"):
        fetch(grown, max_bytes=2_000_000)
    file.path.unlink()
    with pytest.raises(DocumentError, match="cannot be read: No such file or directory"):
        fetch(file, max_bytes=100)
