"""What counts as evidence for a release: passing verdicts of every suite, on exactly what would answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmops.errors import NotFoundError, RequestError
from llmops.releases.audit import latest_events
from llmops.workspace.ledger import Ledger
from llmops.workspace.promotion import promote
from llmops.workspace.prompts import publish_prompt
from tests.workspace.shelf import CLOSED, Shelf, forced, move_documents_on, production, refused, verdict

Reopen = Callable[..., Ledger]
NEVER = "suite 'library' has no verdict for exactly {}: it never ran; run `llmops eval run library{}`"
OTHER = "suite 'library' has no verdict for exactly {}: its verdicts are for other content ({}); run `llmops eval"
TEAM_ROUTE = "name: {name}\ndescription: d\nmodel: default\nprompt: {prompt}\nretrieval: {{collection: docs}}\n"
SUITE = "name: {name}\ndescription: d\nroute: {route}\ndatasets: [library.jsonl]\nmetrics: [recall@5]\n"
GATE = "gate: [{metric: recall@5, at_least: 0.5}]\n"


# Verdicts


def test_without_a_verdict_nothing_is_promoted(ledger: Ledger) -> None:
    refused(ledger, NEVER.format("prompt:answer@1", " --prompt answer@1"))
    refused(ledger, NEVER.format("prompt:answer@3", " --prompt answer@3"), "prompt:answer")
    refused(
        ledger,
        NEVER.format("prompt:answer@2 with collection:docs@2", " --prompt answer@2 --collection docs-2"),
        "prompt:answer@2",
        "collection:docs",
    )


def test_a_passing_verdict_on_exactly_this_content_promotes(shelf: Shelf, ledger: Ledger) -> None:
    passed = verdict(ledger, shelf.contents[1, 1])
    done = promote(ledger, ["prompt:answer@1"], actor="ada", reason="first release")
    [release] = done.releases
    assert (done.verdicts, done.problems) == ((passed,), ())
    assert (release.kind, release.name, release.alias, release.action, release.actor) == (
        "prompt",
        "answer",
        "production",
        "promote",
        "ada",
    )
    assert (release.target, release.version, release.previous) == (shelf.digest(1), 1, "")
    assert (release.verdict_id, release.is_forced, release.reason) == (passed.verdict_id, False, "first release")
    assert production(ledger) == {"prompt:answer": shelf.digest(1), "collection:docs": "docs-1"}
    assert ledger.registry.aliases("answer") == {"production": 1}
    assert ledger.released_prompt("answer", "production").digest == shelf.digest(1)
    [event, *_] = latest_events(ledger.database)
    assert (event.action, event.details["verdict_id"]) == ("release.promote", passed.verdict_id)


@pytest.mark.parametrize(("outcome", "said"), [("fail", "failed on"), ("inconclusive", "was inconclusive on")])
def test_a_verdict_that_did_not_pass_is_shown(outcome: Any, said: str, shelf: Shelf, ledger: Ledger) -> None:
    found = verdict(ledger, shelf.contents[1, 1], outcome)
    why = "(recall@5 at least 0.9 (by mean): 0.500 on 8)"
    shown = f"`llmops eval show {found.verdict_id[:12]}` says more"
    refused(ledger, f"suite 'library' {said} exactly prompt:answer@1 {why}; {shown}")


@pytest.mark.parametrize("key", ["prompt:answer", "collection:docs", "guardrails:default", "route:assistant"])
def test_a_verdict_for_other_content_does_not_count(key: str, shelf: Shelf, ledger: Ledger) -> None:
    other = {"stored-as:docs": "docs-7"} if key == "collection:docs" else {}
    verdict(ledger, {**shelf.contents[1, 1], key: "0" * 64, **other})
    refused(ledger, OTHER.format("prompt:answer@1", key))


def test_the_verdict_that_comes_closest_is_explained(shelf: Shelf, ledger: Ledger) -> None:
    strange = {"stored-as:docs": "docs-7", "collection:docs": "0" * 64}
    verdict(ledger, {**shelf.contents[2, 1], "model:default": "0" * 64, **strange}, hours=2)
    verdict(ledger, {**shelf.contents[1, 1], "model:default": "0" * 64}, hours=1)
    refused(ledger, OTHER.format("prompt:answer@1", "model:default"))


@pytest.mark.parametrize(
    ("path", "old", "new", "key"),
    [
        ("serving/assistant.yaml", "  collection: docs\n", "  collection: docs\n  k: 3\n", "route:assistant"),
        ("serving/assistant.yaml", "model: default\n", "model: default\nhistory_turns: 1\n", "route:assistant"),
        ("serving/assistant.yaml", "guardrails: default\n", "", "guardrails:default"),
        ("guardrails/default.yaml", "can't help", "will not help", "guardrails:default"),
    ],
)
def test_a_file_that_shapes_answers_and_changed_since_counts(
    path: str, old: str, new: str, key: str, shelf: Shelf, ledger: Ledger, reopen: Reopen
) -> None:
    verdict(ledger, shelf.contents[1, 1])
    shelf.edit(path, old, new)
    refused(reopen(), OTHER.format("prompt:answer@1", key))


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("serving/assistant.yaml", "description: ", "description: Now "),
        ("serving/assistant.yaml", "model: default\n", "model: default\ntrace: {content: none}\n"),
        ("evals/library.yaml", "name: library\n", "# It has grown.\nname: library\n"),
        ("evals/library.jsonl", '"id": "opening", ', ' "id" : "opening", '),
        ("prompts/answer.prompt.md", "max_sentences: 3", "max_sentences: 4"),
    ],
)
def test_what_shapes_no_answer_does_not_count(
    path: str, old: str, new: str, shelf: Shelf, ledger: Ledger, reopen: Reopen
) -> None:
    passed = verdict(ledger, shelf.contents[1, 1])
    shelf.edit(path, old, new)
    done = promote(reopen(mlflow_tracking_uri=CLOSED), ["prompt:answer@1"], actor="ada")
    assert [release.verdict_id for release in done.releases] == [passed.verdict_id]


def test_another_model_since_counts(shelf: Shelf, ledger: Ledger, reopen: Reopen) -> None:
    verdict(ledger, shelf.contents[1, 1])
    moved = reopen(chat_url="http://127.0.0.1:1/v1", chat_model="some-model")
    refused(moved, OTHER.format("prompt:answer@1", "model:default"))
    shelf.edit("serving/models.yaml", "type: extractive", "type: openai\n    base_url: http://h/v1\n    model: m")
    refused(reopen(), OTHER.format("prompt:answer@1", "model:default"))


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("evals/library.yaml", "at_least: 0.9", "at_least: 0.95"),
        ("evals/library.jsonl", "forty seats", "fifty seats"),
    ],
)
def test_a_verdict_of_an_earlier_suite_does_not_count(
    path: str, old: str, new: str, shelf: Shelf, ledger: Ledger, reopen: Reopen
) -> None:
    verdict(ledger, shelf.contents[1, 1])
    shelf.edit(path, old, new)
    said = (
        "for exactly prompt:answer@1: its verdicts are of an earlier state of the suite; run `llmops eval run lib"
    )
    refused(reopen(), said)


def test_the_newest_verdict_on_this_content_decides(shelf: Shelf, ledger: Ledger, cut_off: Ledger) -> None:
    verdict(ledger, shelf.contents[1, 1], "fail", hours=3)
    verdict(ledger, shelf.contents[1, 1], "pass", hours=2)  # kept later, reached earlier
    verdict(ledger, shelf.contents[2, 1], "pass", hours=9)
    refused(ledger, "suite 'library' failed on exactly prompt:answer@1")
    passed = verdict(ledger, shelf.contents[1, 1], "pass", hours=4)
    verdict(ledger, shelf.contents[2, 1], "fail", hours=9)
    done = promote(cut_off, ["prompt:answer@1"], actor="ada")
    assert done.verdicts == (passed,)


def test_every_suite_with_a_gate_has_to_pass(shelf: Shelf, ledger: Ledger, reopen: Reopen) -> None:
    for name, gate in (("second", GATE), ("report", "")):
        (shelf.root / "evals" / f"{name}.yaml").write_text(SUITE.format(name=name, route="assistant") + gate)
    ledger = reopen()
    first = verdict(ledger, shelf.contents[1, 1])
    refused(
        ledger, "suite 'second' has no verdict for exactly prompt:answer@1: it never ran; run `llmops eval run s"
    )
    verdict(ledger, shelf.contents[1, 1], "fail", suite="second", hours=1)
    refused(ledger, "suite 'second' failed on exactly prompt:answer@1")
    second = verdict(ledger, shelf.contents[1, 1], suite="second", hours=2)
    done = promote(ledger, ["prompt:answer@1"], actor="ada")
    assert {one.verdict_id for one in done.verdicts} == {first.verdict_id, second.verdict_id}


@pytest.mark.parametrize("gone", ["evals/library.yaml", "gate"])
def test_what_nothing_measures_is_not_promoted(gone: str, shelf: Shelf, reopen: Reopen) -> None:
    suite = shelf.root / "evals" / "library.yaml"
    text = suite.read_text()
    suite.unlink() if gone != "gate" else suite.write_text(text[: text.index("gate:")])
    ledger = reopen()
    said = "nothing measures {}: no suite with a gate in evals/ names a route that answers from it; write one, or"
    refused(ledger, said.format("prompt:answer@1"))
    refused(ledger, said.format("collection:docs@2"), "collection:docs")
    forced(ledger, "collection:docs")
    assert production(ledger)["collection:docs"] == "docs-2"


# What goes together


def test_a_prompt_and_a_collection_that_passed_together_go_together(
    shelf: Shelf, ledger: Ledger, cut_off: Ledger
) -> None:
    forced(cut_off, "prompt:answer@1")
    passed = verdict(ledger, shelf.contents[2, 2])
    refused(ledger, OTHER.format("prompt:answer@2", "collection:docs"), "prompt:answer@2")
    refused(ledger, OTHER.format("collection:docs@2", "prompt:answer"), "collection:docs")
    refused(
        ledger, OTHER.format("prompt:answer@3 with collection:docs@2", "prompt:answer"), "prompt:answer@3", "docs"
    )
    done = promote(cut_off, ["prompt:answer@2", "collection:docs"], actor="ada")
    assert [(r.kind, r.version, r.verdict_id) for r in done.releases] == [
        ("prompt", 2, passed.verdict_id),
        ("collection", 2, passed.verdict_id),
    ]
    assert production(ledger) == {"prompt:answer": shelf.digest(2), "collection:docs": "docs-2"}
    assert ledger.collections.candidate("docs") is None


def test_a_collection_alone_is_measured_with_the_prompt_that_answers(
    shelf: Shelf, ledger: Ledger, cut_off: Ledger
) -> None:
    with pytest.raises(
        NotFoundError, match="no version of prompt 'answer' is production; run `llmops prompt publis"
    ):
        promote(ledger, ["collection:docs"], actor="ada")
    forced(cut_off, "prompt:answer@3")
    verdict(ledger, shelf.contents[1, 2])
    refused(ledger, OTHER.format("collection:docs@2", "prompt:answer"), "collection:docs")
    verdict(ledger, shelf.contents[3, 2])
    [release] = promote(ledger, ["collection:docs@2"], actor="ada").releases
    assert (release.target, release.previous, release.version) == ("docs-2", "docs-1", 2)


def test_nothing_goes_when_one_of_two_may_not(shelf: Shelf, ledger: Ledger) -> None:
    verdict(ledger, shelf.contents[1, 1])
    for wrong in ("collection:docs@9", "collection:docs@1"):
        with pytest.raises(
            RequestError, match=r"no collection 'docs-9'|collection:docs@1 is already in production"
        ):
            promote(ledger, ["prompt:answer@1", wrong], actor="ada")
    assert production(ledger) == {"collection:docs": "docs-1"}


def test_documents_of_a_collection_that_stays_may_move_on(shelf: Shelf, cut_off: Ledger) -> None:
    verdict(cut_off, shelf.contents[1, 1])
    move_documents_on(cut_off, "docs-1")
    assert cut_off.collection_digest("docs-1") != shelf.contents[1, 1]["collection:docs"]
    promote(cut_off, ["prompt:answer@1"], actor="ada")


def test_documents_of_a_collection_that_is_released_may_not(shelf: Shelf, ledger: Ledger) -> None:
    verdict(ledger, shelf.contents[1, 2])
    move_documents_on(ledger, "docs-2")
    refused(
        ledger,
        OTHER.format("prompt:answer@1 with collection:docs@2", "collection:docs"),
        "prompt:answer@1",
        "docs",
    )


def test_a_rebuilt_collection_with_the_same_documents_is_the_same(shelf: Shelf, cut_off: Ledger) -> None:
    verdict(cut_off, {**shelf.contents[1, 2], "stored-as:docs": "docs-7"})
    forced(cut_off, "collection:docs")
    promote(cut_off, ["prompt:answer@1"], actor="ada")


def test_content_named_twice_is_refused(shelf: Shelf, ledger: Ledger) -> None:
    verdict(ledger, shelf.contents[2, 1])
    for wanted in (["prompt:answer@1", "prompt:answer@2"], ["answer@2", "prompt:answer@2"], ["docs", "docs@2"]):
        with pytest.raises(
            RequestError, match=r"(prompt:answer|collection:docs) is named twice; name each once, wit"
        ):
            promote(ledger, wanted, actor="ada", is_forced=True, reason="r")
    assert production(ledger) == {"collection:docs": "docs-1"}


# Other routes


def test_a_route_with_a_prompt_file_is_measured_with_that_file(shelf: Shelf, reopen: Reopen) -> None:
    shelf.edit("serving/assistant.yaml", "answer@production", "../prompts/answer.prompt.md")
    ledger = reopen()
    refused(
        ledger,
        "nothing measures prompt:answer@1: no suite with a gate in evals/ names a route that answers from it",
    )
    verdict(ledger, shelf.contents[2, 2])
    refused(ledger, OTHER.format("collection:docs@2", "prompt:answer"), "collection:docs")
    verdict(ledger, shelf.contents[1, 2])
    promote(ledger, ["collection:docs"], actor="ada")
    assert production(ledger) == {"collection:docs": "docs-2"}


def test_a_route_on_another_alias_is_not_asked(shelf: Shelf, reopen: Reopen) -> None:
    shelf.edit("serving/assistant.yaml", "answer@production", "answer@staging")
    refused(reopen(), "nothing measures prompt:answer@1: no suite with a gate in evals/")


def test_every_route_that_would_change_is_asked(shelf: Shelf, reopen: Reopen) -> None:
    (shelf.root / "serving" / "desk.yaml").write_text(TEAM_ROUTE.format(name="desk", prompt="answer@production"))
    ledger = reopen()
    passed = verdict(ledger, shelf.contents[1, 1])
    assert promote(ledger, ["prompt:answer@1"], actor="ada").verdicts == (passed,)  # no suite measures the desk
    (shelf.root / "evals" / "desk.yaml").write_text(SUITE.format(name="desk", route="desk") + GATE)
    ledger = reopen()
    verdict(ledger, shelf.contents[2, 1])
    refused(ledger, "suite 'desk' has no verdict for exactly prompt:answer@2: it never ran", "prompt:answer@2")


def desk(shelf: Shelf) -> None:
    """A second route, with a prompt of its own, over a collection of its own that nothing was ingested into."""
    text = (shelf.root / "prompts" / "answer.prompt.md").read_text()
    (shelf.root / "prompts" / "desk.prompt.md").write_text(text.replace("name: answer", "name: desk"))
    (shelf.root / "serving" / "desk.yaml").write_text(
        TEAM_ROUTE.format(name="desk", prompt="desk@production").replace("retrieval: {collection: docs}\n", "")
    )


def test_what_nothing_measures_does_not_slip_in_beside_what_passed(shelf: Shelf, reopen: Reopen) -> None:
    desk(shelf)
    ledger = reopen()
    publish_file(ledger, "desk")
    verdict(ledger, shelf.contents[1, 1])
    refused(ledger, "nothing measures prompt:desk@1: no suite", "prompt:answer@1", "prompt:desk")


def test_each_release_names_the_verdict_that_speaks_of_it(shelf: Shelf, reopen: Reopen) -> None:
    desk(shelf)
    (shelf.root / "evals" / "desk.yaml").write_text(SUITE.format(name="desk", route="desk") + GATE)
    ledger = reopen()
    digest = publish_file(ledger, "desk")
    route = ledger.files.route("desk")
    contents = {"route:desk": route.shaping_hash, "model:default": shelf.contents[1, 1]["model:default"]}
    of_desk = verdict(ledger, {**contents, "prompt:desk": digest}, suite="desk")
    of_answer = verdict(ledger, shelf.contents[1, 1])
    done = promote(ledger, ["prompt:desk", "prompt:answer@1"], actor="ada")
    assert {release.name: release.verdict_id for release in done.releases} == {
        "desk": of_desk.verdict_id,
        "answer": of_answer.verdict_id,
    }


def publish_file(ledger: Ledger, name: str) -> str:
    """Publish the prompt file of this name; its digest."""
    prompt = ledger.files.prompt_named(name)
    assert prompt is not None
    return publish_prompt(ledger, prompt, actor="ada").version.digest
