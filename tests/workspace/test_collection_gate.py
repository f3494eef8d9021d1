"""A candidate answers only when labelled queries find as well in it as in what answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from llmops.errors import ConfigurationError, NotFoundError, PromotionRefusedError
from llmops.ingestion.run import Options
from llmops.records import Caller, Verdict
from llmops.retrieval import RetrievalSpec
from llmops.settings import Settings
from llmops.workspace.collection_gate import compare, gate_terms, required_verdict, retrieval_of
from llmops.workspace.evaluation import conclude
from llmops.workspace.ledger import Ledger
from llmops.workspace.opened import Workspace
from llmops.workspace.promotion import promote, roll_back
from tests.story.library import QUESTIONS
from tests.workspace.shelf import Shelf, edit, move_documents_on, production, verdict

PIPELINE, LABELS = "ingestion/docs.yaml", "evals/labels.jsonl"
GATE = f"gate:\n  labels: ../{LABELS}\n"


@contextmanager
def opened(shelf: Shelf) -> Iterator[Workspace]:
    workspace = Workspace(shelf.root, Settings(threads="1"), command="a test")
    with closing(workspace):
        yield workspace


@contextmanager
def ledger_of(shelf: Shelf) -> Iterator[Ledger]:
    with closing(Ledger(shelf.root, Settings())) as ledger:
        yield ledger


@pytest.fixture
def gated(whole: Shelf) -> Shelf:
    """`docs-1` answers, `docs-2` waits, and the pipeline's gate asks for labels; no suite has a gate."""
    labels = [
        {"id": key, "query": question, "relevant": [{"uri": page, "quote": answer}]}
        for key, question, answer, page in QUESTIONS
    ]
    (whole.root / LABELS).write_text("".join(json.dumps(label) + "\n" for label in labels))
    pipeline = whole.root / PIPELINE
    pipeline.write_text(pipeline.read_text() + GATE)
    (whole.root / "evals" / "library.yaml").unlink()
    return whole


def compared(shelf: Shelf, before: Callable[[Workspace], object] = lambda _: None) -> Verdict:
    """What a comparison on the gate's own terms concludes."""
    with opened(shelf) as workspace:
        before(workspace)
        spec = workspace.pipeline("docs")
        assert spec.gate is not None
        report = compare(workspace, spec, gate_terms(workspace.files, spec, spec.gate)).as_json()
        return conclude(workspace.ledger, report, actor="ci").verdict


def refused(shelf: Shelf, *said: str) -> None:
    with ledger_of(shelf) as ledger:
        with pytest.raises(PromotionRefusedError, match=re.escape(said[0])) as found:
            promote(ledger, ["collection:docs"], actor="ada")
        assert found.value.exit_code == 1
        for part in said:
            assert part in str(found.value)
        assert production(ledger) == {"collection:docs": "docs-1"}


def without_a_page(workspace: Workspace) -> None:
    (workspace.root / "docs" / "borrowing.md").unlink()
    workspace.ingest(workspace.pipeline("docs"), options=Options(beside=True, accept_removals=True))


def test_a_candidate_that_finds_as_well_may_answer(gated: Shelf) -> None:
    refused(
        gated,
        "the gate of 'docs' has no verdict for exactly docs-2 against docs-1: they were never compared",
        "run `llmops ingest compare docs --candidate docs-2`",
    )
    made = compared(gated)
    assert (made.suite, made.outcome) == ("retrieval:docs", "pass")
    assert made.contents["stored-as:docs"] == "docs-2"
    [check] = made.checks
    assert check.rule == "ndcg@10 less that of docs-1 at least -0.01 (by mean)"
    assert re.match(r"-?\d\.\d{3} \[", check.reason)
    with ledger_of(gated) as ledger:
        done = promote(ledger, ["collection:docs"], actor="ada")
        assert [one.verdict_id for one in done.verdicts] == [made.verdict_id]
        assert done.releases[0].verdict_id == made.verdict_id
        assert production(ledger) == {"collection:docs": "docs-2"}
        assert roll_back(ledger, "collection:docs", actor="ada").verdicts == ()
        assert production(ledger) == {"collection:docs": "docs-1"}


def test_a_candidate_that_finds_worse_may_not(gated: Shelf) -> None:
    made = compared(gated, without_a_page)
    assert made.outcome == "fail"
    refused(
        gated,
        "docs-2 finds worse than docs-1, and the gate of 'docs' lets nDCG@10 drop by 0.01 at most (-0.",
        f"`llmops eval show {made.verdict_id[:12]}` says more",
    )
    with ledger_of(gated) as ledger:
        promote(ledger, ["collection:docs"], actor="ada", is_forced=True, reason="the page was wrong anyway")
        assert production(ledger) == {"collection:docs": "docs-2"}


def test_a_verdict_counts_for_just_these_two_on_just_these_terms(gated: Shelf) -> None:
    compared(gated)
    edit(gated.root / PIPELINE, GATE, f"{GATE}  max_drop: 0.5\n")
    refused(gated, "its verdicts are on other labels, another limit or another way to search")
    edit(gated.root / PIPELINE, f"{GATE}  max_drop: 0.5\n", GATE)
    route = gated.root / "serving" / "assistant.yaml"
    edit(route, "  collection: docs\n", "  collection: docs\n  fusion: rrf\n")
    refused(gated, "another way to search")
    edit(route, "  fusion: rrf\n", "")
    with ledger_of(gated) as ledger:
        move_documents_on(ledger, "docs-1")
    refused(gated, "what answers changed since the last one")
    with ledger_of(gated) as ledger:
        move_documents_on(ledger, "docs-2")
    refused(gated, "the candidate and what answers changed since the last one")


def test_suites_and_gates_are_both_asked_for(whole: Shelf) -> None:
    suite = (whole.root / "evals" / "library.yaml").read_text()
    labels = [
        {"id": key, "query": question, "relevant": [{"uri": page}]} for key, question, _answer, page in QUESTIONS
    ]
    (whole.root / LABELS).write_text("".join(json.dumps(label) + "\n" for label in labels))
    pipeline = whole.root / PIPELINE
    pipeline.write_text(pipeline.read_text() + GATE)
    wanted = ["prompt:answer@2", "collection:docs"]
    made = compared(whole)
    assert "gate:" in suite
    with ledger_of(whole) as ledger:
        with pytest.raises(
            PromotionRefusedError, match="suite 'library' has no verdict for exactly prompt:answer@2"
        ):
            promote(ledger, wanted, actor="ada")
        of_suite = verdict(ledger, whole.contents[2, 2])
        done = promote(ledger, wanted, actor="ada")
    assert {one.verdict_id for one in done.verdicts} == {of_suite.verdict_id, made.verdict_id}


def test_another_encoder_is_compared_each_with_its_own(gated: Shelf) -> None:
    """And questions are answered by the old one until the release, and by the new one from then on."""
    edit(gated.root / PIPELINE, "acl: [everyone]\n", "acl: [everyone]\nembed:\n  passage_prefix: 'passage: '\n")
    question, page = QUESTIONS[0][1], QUESTIONS[0][3]
    with opened(gated) as workspace:
        report = workspace.ingest(workspace.pipeline("docs"), options=Options(beside=True))
        assert (report.collection, report.n_unchanged, report.n_indexed) == ("docs-2", 3, 1)  # one page changed
        shapes = {shape.collection: shape for shape in workspace.collections.all()}
        assert shapes["docs-2"].embedder_digest != shapes["docs-1"].embedder_digest
        spec = workspace.pipeline("docs")
        assert spec.gate is not None
        measured = compare(workspace, spec, gate_terms(workspace.files, spec, spec.gate))
        conclude(workspace.ledger, measured.as_json(), actor="ci")
        retriever = workspace.retriever(RetrievalSpec(collection="docs"))
        assert retriever.shape().collection == "docs-1"
        vectors = retriever.embed(question)
        assert promote(workspace.ledger, ["collection:docs"], actor="ada").releases[0].target == "docs-2"
        for found in (retriever.search(vectors, Caller()), retriever.search(retriever.embed(question), Caller())):
            assert found[0].chunk.uri == page
        assert retriever.shape().collection == "docs-2"
    with opened(gated) as workspace:  # as after a restart, with the file still naming the new encoder
        roll_back(workspace.ledger, "collection:docs", actor="ada")
        hits = workspace.search(question, spec=RetrievalSpec(collection="docs"), caller=Caller())
        assert hits[0].chunk.uri == page


def test_there_has_to_be_something_to_compare(gated: Shelf) -> None:
    with opened(gated) as workspace:
        spec = workspace.pipeline("docs")
        assert spec.gate is not None
        terms = gate_terms(workspace.files, spec, spec.gate)
        with pytest.raises(NotFoundError, match="'docs-1' is no candidate of 'docs'; run `llmops ingest run docs"):
            compare(workspace, spec, terms, candidate="docs-1")
        (gated.root / LABELS).write_text('{"id": "a", "query": "?", "relevant": [{"uri": "nowhere.md"}]}\n')
        with pytest.raises(
            ConfigurationError, match=r"none of the 1 labels names a document of 'docs': they name"
        ):
            compare(workspace, spec, gate_terms(workspace.files, spec, spec.gate))
        assert required_verdict(workspace.ledger, "docs", "docs-1") is None  # it answers already
        assert required_verdict(workspace.ledger, "nobody", "nobody-1") is None


def test_which_route_counts_has_to_be_plain(gated: Shelf) -> None:
    serving = gated.root / "serving"
    with ledger_of(gated) as ledger:
        assert retrieval_of(ledger.files, "docs", None)[1] == "assistant"
        assert retrieval_of(ledger.files, "elsewhere", None) == (RetrievalSpec(collection="elsewhere"), "")
    second = (serving / "assistant.yaml").read_text().replace("name: assistant", "name: second")
    (serving / "second.yaml").write_text(second.replace("collection: docs", "collection: docs\n  k: 3"))
    with ledger_of(gated) as ledger:
        with pytest.raises(ConfigurationError, match=r"2 routes search 'docs' \(assistant, second\); name one"):
            retrieval_of(ledger.files, "docs", None)
        assert retrieval_of(ledger.files, "docs", "second")[0].k == 3
        with pytest.raises(ConfigurationError, match="route 'second' does not search the collection 'other'"):
            retrieval_of(ledger.files, "other", "second")
    edit(gated.root / PIPELINE, GATE, f"{GATE}  route: second\n")
    with ledger_of(gated) as ledger:
        spec = ledger.files.pipeline("docs")
        assert spec.gate is not None
        assert gate_terms(ledger.files, spec, spec.gate).route == "second"
