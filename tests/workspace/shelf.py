"""The library of the story with everything that waits for a release: three prompts and two collections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import orjson
import pytest

from llmops.errors import PromotionRefusedError
from llmops.evals.run import suite_digest
from llmops.ingestion.documents import DocumentLedger
from llmops.ingestion.run import Options
from llmops.prompts import load_prompt
from llmops.records import GateCheck, MetricValue, Outcome, Verdict
from llmops.releases.audit import verify_chain
from llmops.settings import Settings
from llmops.workspace.evaluation import Target, prepare
from llmops.workspace.ledger import Ledger
from llmops.workspace.opened import Workspace
from llmops.workspace.promotion import promote
from llmops.workspace.prompts import publish_prompt
from tests.clients.mlflow_store import copy_store
from tests.story.library import RIGHT_FEE, WRONG_FEE, write_library

CLOSED = "http://127.0.0.1:1"
"""Where nobody answers."""
PROMPT = "prompts/answer.prompt.md"
EDITIONS = ("max_sentences: 3", "max_sentences: 1", "max_sentences: 2")
"""What versions 1, 2 and 3 of the prompt differ in; the file is version 1."""
BEGAN = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A workspace with its prompts published, `docs-1` serving and `docs-2` waiting.

    Attributes:
        contents: by prompt version and collection number, what a verdict on the two together speaks of.
    """

    root: Path
    contents: Mapping[tuple[int, int], Mapping[str, str]]

    def edit(self, path: str, old: str, new: str) -> None:
        edit(self.root / path, old, new)

    def digest(self, version: int) -> str:
        return self.contents[version, 1]["prompt:answer"]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def make_shelf(root: Path, models: Path) -> Shelf:
    write_library(root, models)
    copy_store(root / ".llmops")
    workspace = Workspace(root, Settings(threads="1"), command="a test")
    try:
        docs = workspace.files.pipeline("docs")
        workspace.ingest(docs, options=Options())
        edit(root / "docs" / "fees.md", WRONG_FEE, RIGHT_FEE)
        workspace.ingest(docs, options=Options(beside=True))
        for before, after in zip((EDITIONS[0], *EDITIONS), EDITIONS, strict=False):
            edit(root / PROMPT, before, after)
            publish(workspace.ledger, root)
        edit(root / PROMPT, EDITIONS[-1], EDITIONS[0])
        contents = {
            (version, number): prepare(
                workspace, "library", Target(prompt=f"answer@{version}", collection=f"docs-{number}")
            ).contents
            for version in (1, 2, 3)
            for number in (1, 2)
        }
    finally:
        workspace.close()
    return Shelf(root=root, contents=contents)


def publish(ledger: Ledger, root: Path, *, actor: str = "ada") -> int:
    """Publish the prompt as its file is now; its version."""
    return publish_prompt(ledger, load_prompt(root / PROMPT), actor=actor).version.version


def verdict(
    ledger: Ledger,
    contents: Mapping[str, str],
    outcome: Outcome = "pass",
    *,
    suite: str = "library",
    hours: int = 0,
    reason: str = "0.500 on 8",
) -> Verdict:
    """A verdict of the suite as it is now, kept on the ledger."""
    spec = ledger.files.suite(suite)
    value = MetricValue(metric="recall@5", value=0.5, low=0.25, high=0.75, n=8)
    check = GateCheck(rule="recall@5 at least 0.9 (by mean)", outcome=outcome, measured=value, reason=reason)
    made = Verdict(
        verdict_id=f"ver_{uuid4().hex}",
        suite=suite,
        suite_digest=suite_digest(spec, spec.dataset()),
        outcome=outcome,
        contents=dict(contents),
        checks=(replace(check, rule="token_recall at least 0.8 (by mean)", outcome="pass"), check),
        at=BEGAN + timedelta(hours=hours),
        actor="ci",
    )
    ledger.verdicts.add(made, orjson.dumps({}))
    return made


def production(ledger: Ledger) -> dict[str, str]:
    """What every name stands for now, as the ledger says it."""
    ledger.refresh()
    return {f"{a.kind}:{a.name}": a.target for a in ledger.releases.aliases() if a.alias == "production"}


def move_documents_on(ledger: Ledger, collection: str) -> None:
    """A page of the collection is ingested in another form."""
    documents = DocumentLedger(ledger.database, collection)
    row = next(iter(documents.rows().values()))
    documents.put([replace(row, content_hash="0" * 64, fingerprint="0" * 64, updated_at=datetime.now(UTC))])


def refused(ledger: Ledger, said: str, *wanted: str) -> None:
    """Promotion is refused in these words, and nothing has moved, been told or been logged."""
    before, n_events = production(ledger), verify_chain(ledger.database)
    with pytest.raises(PromotionRefusedError, match=re.escape(said)):
        promote(ledger, wanted or ["prompt:answer@1"], actor="ada")
    assert (production(ledger), verify_chain(ledger.database)) == (before, n_events)


def forced(ledger: Ledger, *wanted: str) -> None:
    promote(ledger, wanted, actor="eve", is_forced=True, reason="the demo is at noon")
