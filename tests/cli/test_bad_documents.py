"""A folder of the worst that people have: each file ends with its reason, and the page beside them answers."""

from __future__ import annotations

import io
import itertools
import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.gateway.workspaces import write_template

LLMOPS = (sys.executable, "-c", "from llmops.cli import main; main()")
WATCH = """
import pathlib, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
BILLION_LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE bomb [<!ENTITY a "ha">{}]>
<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r>
<w:t>&{};</w:t></w:r></w:p></w:body></w:document>"""
EXTERNAL = """<?xml version="1.0"?>
<!DOCTYPE doc [<!ENTITY secret SYSTEM "file:///etc/passwd">]>
<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r>
<w:t>&secret;</w:t></w:r></w:p></w:body></w:document>"""


def zipped(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return made.getvalue()


def laughing() -> str:
    names = "abcdefghij"
    entities = [f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in itertools.pairwise(names)]
    return BILLION_LAUGHS.format("".join(entities), names[-1])


def word_document(xml: str) -> bytes:
    """A document of Word with this in place of its text."""
    from docx import Document

    made, changed = io.BytesIO(), io.BytesIO()
    Document().save(made)
    with zipfile.ZipFile(made) as archive, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            copy.writestr(name, xml if name == "word/document.xml" else archive.read(name))
    return changed.getvalue()


def encrypted_pdf() -> bytes:
    from pypdf import PdfWriter

    writer = PdfWriter()
    writer.add_blank_page(72, 72)
    writer.encrypt("secret", algorithm="RC4-128")
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def nested(depth: int) -> bytes:
    raw = zipped(**{"page.md": b"# Deep\n\nDown here."})
    for n in range(depth):
        raw = zipped(**{f"level-{n}.zip": raw})
    return raw


def write_worst(docs: Path) -> None:
    (docs / "bomb.zip").write_bytes(zipped(**{"zeros.txt": bytes(300_000_000)}))
    (docs / "nested.zip").write_bytes(nested(40))
    (docs / "traversal.zip").write_bytes(
        zipped(**{"../../../outside.md": b"# Outside\n\nIt escaped.", "inside.md": b"# In\n\nIt stayed."})
    )
    (docs / "cut.zip").write_bytes(zipped(**{"a.md": b"# A\n\nText."})[:40])
    (docs / "laughs.docx").write_bytes(word_document(laughing()))
    (docs / "external.docx").write_bytes(word_document(EXTERNAL))
    (docs / "locked.pdf").write_bytes(encrypted_pdf())
    (docs / "cut.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<<")
    (docs / "huge.txt").touch()
    os.truncate(docs / "huge.txt", 2_000_000_000)  # sparse: it takes no room
    (docs / "noise.txt").write_bytes(bytes(range(256)) * 50)
    (docs / "latin.txt").write_bytes(
        "Das Caf\xe9 \xf6ffnet um neun Uhr, die K\xfcche schlie\xdft um zehn.".encode("latin-1")
    )
    (docs / "empty.md").touch()
    (docs / "deep.json").write_text("[" * 100_000)
    (docs / "loop").symlink_to(docs)
    (docs / "self.md").symlink_to("self.md")
    (docs / "dangling.md").symlink_to("nowhere.md")
    (docs / "outside.md").symlink_to("/etc/passwd")
    os.mkfifo(docs / "pipe.md")
    (Path(os.fsdecode(os.fsencode(docs) + b"/bad-\xff-name.md"))).write_text("# A name\n\nThat is no text.")
    (docs / ("n" * 240 + ".md")).write_text("# Long name\n\nIt is long.")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(docs / "socket.md"))


# The state of each, and words of its reason.
ENDS: dict[str, tuple[str, str]] = {
    "bomb.zip": ("failed", "would unpack 'zeros.txt' to 300 MB"),
    "nested.zip": ("failed", "stands in more than 2 archives within each other"),
    "traversal.zip": ("failed", "holds a file whose name leads out of the archive: '../../../outside.md'"),
    "cut.zip": ("failed", "is damaged, or no ZIP archive"),
    "laughs.docx": ("failed", "entity amplification"),
    "external.docx": ("empty", "holds no text"),
    "locked.pdf": ("failed", "encrypted and needs a password"),
    "cut.pdf": ("failed", "is a damaged PDF"),
    "huge.txt": ("failed", "2,000,000,000 bytes"),
    "noise.txt": ("failed", "is binary data, not text"),
    "latin.txt": ("indexed", ""),
    "empty.md": ("empty", "is empty"),
    "deep.json": ("failed", "is nested too deeply"),
}


@pytest.mark.slow
def test_every_bad_file_has_its_reason_and_disturbs_nothing(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, llmops: Command
) -> None:
    root = write_template(tmp_path / "workspace", models)
    monkeypatch.chdir(root / "docs")  # the address of a socket is short
    write_worst(root / "docs")
    code, said, n_bytes = measured(root, "ingest", "run", "docs", "--json")
    assert code == 3, said
    [report] = json.loads(said)
    assert report["listing_problems"] == [
        "dangling.md: No such file or directory",
        "self.md: Too many levels of symbolic links",
        "'bad-\\udcff-name.md': the name is not UTF-8; rename the file",
    ]
    status = llmops("ingest", "status", "docs", "-w", root, "--json").json
    documents = {document["uri"]: document for document in status[0]["documents"]}
    for name, (state, words) in ENDS.items():
        found = documents.pop(name)
        assert found["state"] == state, found
        assert words in found["reason"], found
    # What is left is read; neither a pipe nor a link that leads out of the folder is a document.
    assert {name[:10]: document["state"] for name, document in documents.items()} == {
        "library.md": "indexed",
        "n" * 10: "indexed",
    }
    assert "twenty cents" in llmops("search", "late book", "-w", root).out
    for secret in ("It escaped", "root:x:0:0"):
        assert secret not in llmops("search", secret, "-w", root).out.replace(f'"{secret}"', "")
    assert n_bytes < 1_200_000_000, "a bad file was taken into memory whole"


def measured(root: Path, *command: str) -> tuple[int, str, int]:
    """Exit code, what was printed, and the most memory that the command held, in bytes.

    A small process watches it: what a process held before it became another program counts for its child.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMOPS_")}
    note = root / "memory.txt"
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(note), *LLMOPS, *command, "-w", str(root)],
        env={**environment, "HF_HUB_OFFLINE": "1", "LLMOPS_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, int(note.read_text()) * 1024
