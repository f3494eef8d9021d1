"""What is kept of a document that an application sends is what the policy lets pass, down to the files' bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmops.errors import RequestError
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.parsing.media_types import KEPT
from llmops.ingestion.report import IngestReport
from llmops.ingestion.run import Options
from llmops.records import EVERYONE, Caller, Hit
from llmops.retrieval import RetrievalSpec
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from llmops.workspace.sources import PushedDocument, push

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"  # of the form of a key, and nobody's
LETTER = f"""# Deployment

## Access

The deployment robot of the northern office signs in with {TOKEN} every night.

## Schedule

The robot starts its round at four in the morning and ends it at five.
"""


class Desk:
    """An application that sends documents to a pipeline whose policy is about to change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "ingestion").mkdir(parents=True)
        (root / "serving").mkdir()
        models = {"endpoints": {"default": {"type": "extractive"}}}
        (root / "serving" / "models.yaml").write_text(json.dumps(models))
        self.govern()
        self.workspace = Workspace(root, Settings(threads="1"), command="a test")

    def govern(self, **policy: object) -> None:
        spec = {
            "name": "memos",
            "description": "What an application sends.",
            "source": {"type": "push", "acl": ["everyone"]},
            "governance": policy,
            "chunk": {"max_tokens": 64, "min_tokens": 0},
        }
        (self.root / "ingestion" / "memos.yaml").write_text(json.dumps(spec))

    def send(self, text: str, *, uri: str = "letter.md", title: str = "", **metadata: str) -> IngestReport:
        sent = PushedDocument(
            uri=uri, raw=text.encode(), media_type="text/markdown", title=title, metadata=metadata
        )
        return push(self.workspace, "memos", [sent])

    def sync(self, **options: bool) -> IngestReport:
        return self.workspace.ingest(self.workspace.pipeline("memos"), options=Options(**options))

    def row(self) -> DocumentRow:
        shape = self.workspace.collections.serving("memos")
        assert shape is not None
        [row] = DocumentLedger(self.workspace.database, shape.collection).rows().values()
        return row

    def hits(self, query: str) -> list[Hit]:
        caller = Caller(name="a test", role="user", principals=(EVERYONE,))
        return self.workspace.search(query, spec=RetrievalSpec(collection="memos"), caller=caller)

    def holds(self, text: str) -> bool:
        """Whether a file of the workspace's state has these words."""
        self.workspace.database.compact()
        state = self.root / ".llmops"
        files = [path for path in state.rglob("*") if path.is_file() and path.suffix not in (".onnx", ".lock")]
        assert files
        return any(text.encode() in path.read_bytes() for path in files)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "workspace")
    yield made
    made.workspace.close()


def test_what_holds_nothing_bad_is_kept_as_it_came(desk: Desk) -> None:
    plain = LETTER.replace(TOKEN, "a badge")
    assert desk.send(plain).n_indexed == 1
    assert desk.holds("## Schedule\n\nThe robot starts")
    assert desk.sync(rebuild=True).n_indexed == 1


def test_a_secret_is_nowhere_and_the_rest_keeps_its_form(desk: Desk) -> None:
    assert desk.send(LETTER).n_indexed == 1
    assert not desk.holds(TOKEN)
    assert desk.row().labels["secrets_redacted"] == 1
    before = [(hit.chunk.heading_path, hit.chunk.text) for hit in desk.hits("when does the robot start?")]
    assert ("Deployment", "Schedule") in [path for path, _ in before]
    assert any("signs in with <" in text for _, text in before)
    report = desk.sync(rebuild=True)
    assert (report.collection, report.n_indexed) == ("memos-2", 1)
    assert [(hit.chunk.heading_path, hit.chunk.text) for hit in desk.hits("when does the robot start?")] == before
    assert desk.row().labels["secrets_redacted"] == 1, "what was found is known after a rebuild too"
    assert desk.send(LETTER).n_unchanged == 1


def test_a_title_is_redacted_too(desk: Desk) -> None:
    desk.send(LETTER, title=f"How to use {TOKEN}")
    assert not desk.holds(TOKEN)
    assert desk.row().title.startswith("How to use <")


def test_nothing_is_kept_of_what_is_refused(desk: Desk) -> None:
    desk.govern(secrets="refuse")
    report = desk.send(LETTER, title="The robot of the northern office", author="Grace Hopper")
    assert (report.n_refused, report.n_indexed, desk.row().state) == (1, 0, "refused")
    assert "which governance.secrets refuses; nothing of it was stored" in desk.row().reason
    for words in (TOKEN, "northern office", "Grace Hopper", "round at four"):
        assert not desk.holds(words)
    desk.govern()  # a policy that lets it pass now does not bring back what is not there
    assert desk.sync().n_refused == 1
    assert desk.send(LETTER).n_indexed == 1


def test_a_policy_that_becomes_stricter_lets_go_of_what_was_kept(desk: Desk) -> None:
    desk.govern(secrets="keep")
    assert desk.send(LETTER).n_indexed == 1
    assert desk.holds(TOKEN)
    desk.govern(secrets="refuse")
    assert desk.sync(accept_removals=True).n_refused == 1
    assert desk.hits("robot") == []
    with desk.workspace.database.read() as connection:
        from sqlalchemy import select

        from llmops.clients.database.tables import pushed_documents

        assert connection.execute(select(pushed_documents.c.raw)).scalar_one() == b""


@pytest.mark.parametrize("is_over_when_sent", [True, False])
def test_nothing_is_kept_of_what_has_expired(
    desk: Desk, is_over_when_sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmops.ingestion import comparison

    plain = LETTER.replace(TOKEN, "a badge")
    day = datetime.now(UTC) + timedelta(days=-1 if is_over_when_sent else 1)
    report = desk.send(plain, expires=day.date().isoformat())
    if not is_over_when_sent:
        assert (report.n_indexed, desk.holds("round at four")) == (1, True)

        class Later(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003 (always UTC here)
                return datetime.now(UTC) + timedelta(days=3)

        monkeypatch.setattr(comparison, "datetime", Later)
        report = desk.sync()
    assert (report.n_expired, desk.row().state) == (1, "expired")
    assert not _is_kept(desk)


def _is_kept(desk: Desk) -> bool:
    from sqlalchemy import select

    from llmops.clients.database.tables import pushed_documents

    with desk.workspace.database.read() as connection:
        return bool(connection.execute(select(pushed_documents.c.raw)).scalar_one())


def test_what_cannot_be_read_cannot_be_judged(desk: Desk) -> None:
    damaged = PushedDocument(uri="plan.pdf", raw=b"%PDF-1.7 " + TOKEN.encode())
    assert push(desk.workspace, "memos", [damaged]).n_failed == 1
    assert desk.row().reason == "is a damaged PDF, or one without pages; nothing of it was kept: send it again"
    assert not desk.holds(TOKEN)
    desk.govern(secrets="label")
    push(desk.workspace, "memos", [damaged])
    assert desk.row().reason == "is a damaged PDF, or one without pages"
    assert desk.holds(TOKEN)


def test_nobody_sends_what_looks_like_our_own(desk: Desk) -> None:
    forged = PushedDocument(uri="a", raw=b'{"text": "x"}', media_type=KEPT)
    with pytest.raises(
        RequestError, match="document 'a' has the media type of what llmops keeps; send what it is"
    ):
        push(desk.workspace, "memos", [forged])
