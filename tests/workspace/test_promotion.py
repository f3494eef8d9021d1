"""A name stands for other content only on a passing verdict on exactly that, or with a reason on record."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete, update

from llmops.clients.database.tables import artifacts, releases
from llmops.clients.mlflow import PromptContent
from llmops.errors import NotFoundError, PromotionRefusedError, RequestError, SpecError, StorageError
from llmops.releases.audit import latest_events, verify_chain
from llmops.workspace.ledger import Ledger
from llmops.workspace.promotion import mirror, promote, roll_back
from tests.workspace.shelf import (
    CLOSED,
    Shelf,
    move_documents_on,
    production,
    publish,
    verdict,
)

Reopen = Callable[..., Ledger]
NEVER = "suite 'library' has no verdict for exactly {}: it never ran; run `llmops eval run library{}`"
OTHER = "suite 'library' has no verdict for exactly {}: its verdicts are for other content ({}); run `llmops eval"
TEAM_ROUTE = "name: {name}\ndescription: d\nmodel: default\nprompt: {prompt}\nretrieval: {{collection: docs}}\n"
SUITE = "name: {name}\ndescription: d\nroute: {route}\ndatasets: [library.jsonl]\nmetrics: [recall@5]\n"
GATE = "gate: [{metric: recall@5, at_least: 0.5}]\n"


def refused(ledger: Ledger, said: str, *wanted: str) -> None:
    """Promotion is refused in these words, and nothing has moved, been told or been logged."""
    before, n_events = production(ledger), verify_chain(ledger.database)
    with pytest.raises(PromotionRefusedError, match=re.escape(said)):
        promote(ledger, wanted or ["prompt:answer@1"], actor="ada")
    assert (production(ledger), verify_chain(ledger.database)) == (before, n_events)


def forced(ledger: Ledger, *wanted: str) -> None:
    promote(ledger, wanted, actor="eve", is_forced=True, reason="the demo is at noon")


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
    done = promote(reopen(), ["prompt:answer@1"], actor="ada")
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


def test_the_newest_verdict_on_this_content_decides(shelf: Shelf, ledger: Ledger) -> None:
    verdict(ledger, shelf.contents[1, 1], "fail", hours=3)
    verdict(ledger, shelf.contents[1, 1], "pass", hours=2)  # kept later, reached earlier
    verdict(ledger, shelf.contents[2, 1], "pass", hours=9)
    refused(ledger, "suite 'library' failed on exactly prompt:answer@1")
    passed = verdict(ledger, shelf.contents[1, 1], "pass", hours=4)
    verdict(ledger, shelf.contents[2, 1], "fail", hours=9)
    done = promote(ledger, ["prompt:answer@1"], actor="ada")
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


def test_a_prompt_and_a_collection_that_passed_together_go_together(shelf: Shelf, ledger: Ledger) -> None:
    forced(ledger, "prompt:answer@1")
    passed = verdict(ledger, shelf.contents[2, 2])
    refused(ledger, OTHER.format("prompt:answer@2", "collection:docs"), "prompt:answer@2")
    refused(ledger, OTHER.format("collection:docs@2", "prompt:answer"), "collection:docs")
    refused(
        ledger, OTHER.format("prompt:answer@3 with collection:docs@2", "prompt:answer"), "prompt:answer@3", "docs"
    )
    done = promote(ledger, ["prompt:answer@2", "collection:docs"], actor="ada")
    assert [(r.kind, r.version, r.verdict_id) for r in done.releases] == [
        ("prompt", 2, passed.verdict_id),
        ("collection", 2, passed.verdict_id),
    ]
    assert production(ledger) == {"prompt:answer": shelf.digest(2), "collection:docs": "docs-2"}
    assert ledger.collections.candidate("docs") is None


def test_a_collection_alone_is_measured_with_the_prompt_that_answers(shelf: Shelf, ledger: Ledger) -> None:
    with pytest.raises(
        NotFoundError, match="no version of prompt 'answer' is production; run `llmops prompt publis"
    ):
        promote(ledger, ["collection:docs"], actor="ada")
    forced(ledger, "prompt:answer@3")
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


def test_documents_of_a_collection_that_stays_may_move_on(shelf: Shelf, ledger: Ledger) -> None:
    verdict(ledger, shelf.contents[1, 1])
    move_documents_on(ledger, "docs-1")
    assert ledger.collection_digest("docs-1") != shelf.contents[1, 1]["collection:docs"]
    promote(ledger, ["prompt:answer@1"], actor="ada")


def test_documents_of_a_collection_that_is_released_may_not(shelf: Shelf, ledger: Ledger) -> None:
    verdict(ledger, shelf.contents[1, 2])
    move_documents_on(ledger, "docs-2")
    refused(
        ledger,
        OTHER.format("prompt:answer@1 with collection:docs@2", "collection:docs"),
        "prompt:answer@1",
        "docs",
    )


def test_a_rebuilt_collection_with_the_same_documents_is_the_same(shelf: Shelf, ledger: Ledger) -> None:
    verdict(ledger, {**shelf.contents[1, 2], "stored-as:docs": "docs-7"})
    forced(ledger, "collection:docs")
    promote(ledger, ["prompt:answer@1"], actor="ada")


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
    from llmops.workspace.prompts import publish_prompt

    prompt = ledger.files.prompt_named(name)
    assert prompt is not None
    return publish_prompt(ledger, prompt, actor="ada").version.digest


# By force


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_force_needs_its_reason(reason: str, ledger: Ledger) -> None:
    with pytest.raises(
        RequestError, match="a forced release needs its reason: add --reason TEXT; it is kept in the a"
    ):
        promote(ledger, ["prompt:answer"], actor="eve", is_forced=True, reason=reason)
    assert production(ledger) == {"collection:docs": "docs-1"}


def test_force_is_on_record(shelf: Shelf, ledger: Ledger) -> None:
    verdict(ledger, shelf.contents[2, 1], "fail")
    done = promote(ledger, ["prompt:answer@2"], actor="eve", is_forced=True, reason="the demo is at noon")
    [release] = done.releases
    assert (release.actor, release.is_forced, release.reason, release.verdict_id) == (
        "eve",
        True,
        "the demo is at noon",
        "",
    )
    assert done.verdicts == ()
    [event, *_] = latest_events(ledger.database)
    assert (event.actor, event.details["is_forced"], event.details["reason"]) == (
        "eve",
        True,
        "the demo is at noon",
    )


def test_what_is_in_production_is_not_promoted_again(shelf: Shelf, ledger: Ledger) -> None:
    forced(ledger, "prompt:answer@2")
    said = "prompt:answer@2 is already in production; there is nothing to promote"
    with pytest.raises(RequestError, match=said):
        promote(ledger, ["prompt:answer@2"], actor="ada")
    with pytest.raises(RequestError, match=said):
        forced(ledger, "answer@2")


# Names


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        (
            "prompt:nobody",
            NotFoundError,
            "prompt 'nobody' was never published; run `llmops prompt publish nobody`",
        ),
        ("prompt:nobody@1", NotFoundError, "there is no prompt 'nobody' in the MLflow registry; publish it first"),
        ("prompt:answer@9", NotFoundError, "prompt 'answer' has no version 9 in the MLflow registry"),
        ("prompt:answer@0", NotFoundError, "prompt 'answer' has no version 0 in the MLflow registry"),
        (
            "collection:nobody",
            NotFoundError,
            "no candidate of collection 'nobody' waits for a release; run `llmops",
        ),
        ("collection:docs@9", NotFoundError, "no collection 'docs-9'; there is: docs-1, docs-2"),
        ("nobody", NotFoundError, "no prompt or collection 'nobody'; there is: "),
        (
            "answer@production",
            RequestError,
            "'answer@production' is nothing to release; write prompt:NAME, prompt",
        ),
        ("route:assistant", RequestError, "'route:assistant' is nothing to release; write prompt:NAME"),
        ("prompt:", RequestError, "'prompt:' is nothing to release"),
        ("", RequestError, "'' is nothing to release"),
        ("prompt:answer@1@2", RequestError, "'prompt:answer@1@2' is nothing to release"),
        ("prompt:answer@-1", RequestError, "is nothing to release"),
        ("Answer", RequestError, "'Answer' is nothing to release"),
        ("prompt:answer\n", RequestError, "is nothing to release"),
        ("prompt:" + "x" * 200, RequestError, "is nothing to release"),
    ],
)
def test_a_name_that_leads_nowhere(wanted: str, error: type[Exception], said: str, ledger: Ledger) -> None:
    with pytest.raises(error, match=re.escape(said)):
        promote(ledger, [wanted], actor="ada")
    assert production(ledger) == {"collection:docs": "docs-1"}


def test_a_name_is_enough_where_it_is_only_one_thing(shelf: Shelf, ledger: Ledger, reopen: Reopen) -> None:
    verdict(ledger, shelf.contents[2, 2])
    promote(ledger, ["answer@2", "docs"], actor="ada")
    assert production(ledger) == {"prompt:answer": shelf.digest(2), "collection:docs": "docs-2"}
    (shelf.root / "ingestion" / "answer.yaml").write_text(
        (shelf.root / "ingestion" / "docs.yaml").read_text().replace("name: docs", "name: answer")
    )
    with pytest.raises(
        RequestError, match="'answer' is both a prompt and a collection; write prompt:answer or collec"
    ):
        promote(reopen(), ["answer"], actor="ada")


def test_a_collection_that_is_not_complete_is_refused(shelf: Shelf, ledger: Ledger) -> None:
    from llmops.clients.database.tables import collections

    with ledger.database.begin() as connection:
        connection.execute(update(collections).where(collections.c.name == "docs").values(state="building"))
    with pytest.raises(RequestError, match="collection 'docs-2' is not complete; run the ingestion again"):
        promote(ledger, ["collection:docs@2"], actor="ada")
    with pytest.raises(NotFoundError, match="no candidate of collection 'docs' waits"):
        promote(ledger, ["collection:docs"], actor="ada")


def test_a_dataset_that_is_gone_is_said(shelf: Shelf, ledger: Ledger) -> None:
    (shelf.root / "evals" / "library.jsonl").unlink()
    with pytest.raises(SpecError, match=r"library\.jsonl: no such file"):
        promote(ledger, ["prompt:answer@1"], actor="ada")


# What is on the ledger and what is in MLflow


def test_the_newest_version_of_this_ledger_is_meant(shelf: Shelf, ledger: Ledger) -> None:
    shelf.edit("prompts/answer.prompt.md", "max_sentences: 3", "max_sentences: 5")
    assert publish(ledger, shelf.root) == 4
    refused(ledger, "for exactly prompt:answer@4", "prompt:answer")


def test_a_version_that_another_ledger_published_is_fetched(shelf: Shelf, ledger: Ledger) -> None:
    forget(ledger, shelf.digest(2))
    verdict(ledger, shelf.contents[2, 1])
    promote(ledger, ["prompt:answer@2"], actor="ada")
    kept = ledger.artifacts.get("prompt", "answer", shelf.digest(2))
    assert kept is not None
    assert (kept.version, "max_sentences: 1" in kept.content) == (2, True)
    assert ledger.released_prompt("answer", "production").spec.parameters.max_sentences == 1


def forget(ledger: Ledger, digest: str) -> None:
    with ledger.database.begin() as connection:
        connection.execute(delete(artifacts).where(artifacts.c.digest == digest))


@pytest.mark.parametrize("text", ["Say {{ question }}", "a file of ours under another digest"])
def test_a_version_that_was_made_in_mlflow_itself_is_refused(text: str, shelf: Shelf, ledger: Ledger) -> None:
    if "file" in text:
        text = (shelf.root / "prompts" / "answer.prompt.md").read_text().replace("max_sentences: 3", "seed: 7")
    ledger.registry.publish(PromptContent(name="answer", text=text, digest="f" * 64, author="m", commit=""))
    with pytest.raises(
        RequestError, match=r"answer@4 in MLflow is no(t what| prompt file).*; publish it from a file"
    ):
        forced(ledger, "prompt:answer@4")
    assert [one.version for one in ledger.artifacts.published("prompt", "answer")] == [3, 2, 1]


@pytest.mark.parametrize("content", ["damaged", "---\nname: answer\n---\n", ""])
def test_a_content_that_is_damaged_is_not_promoted_until_it_is_published_again(
    content: str, shelf: Shelf, ledger: Ledger
) -> None:
    with ledger.database.begin() as connection:
        connection.execute(update(artifacts).where(artifacts.c.digest == shelf.digest(1)).values(content=content))
    with pytest.raises(StorageError, match=r"the stored prompt 'answer' cannot be read .*; publish it again"):
        forced(ledger, "prompt:answer@1")
    assert publish(ledger, shelf.root) == 1
    forced(ledger, "prompt:answer@1")
    assert ledger.released_prompt("answer", "production").spec.parameters.max_sentences == 3


def test_a_release_does_not_wait_for_mlflow(shelf: Shelf, ledger: Ledger, cut_off: Ledger) -> None:
    forced(ledger, "prompt:answer@1")
    verdict(cut_off, shelf.contents[2, 2])
    done = promote(cut_off, ["prompt:answer@2", "collection:docs"], actor="ada")
    [problem] = done.problems
    said = "MLflow's alias was not moved, `llmops release sync` does it later: the MLflow registry at "
    said += f"'{CLOSED}' cannot be reached (connection refused)"
    assert problem.startswith(said)
    assert production(ledger) == {"prompt:answer": shelf.digest(2), "collection:docs": "docs-2"}
    assert ledger.registry.aliases("answer") == {"production": 1}
    [problem] = roll_back(cut_off, "prompt:answer", actor="ada").problems
    assert problem.startswith(said)
    assert roll_back(cut_off, "collection:docs", actor="ada").problems == ()  # MLflow knows nothing of collections
    with pytest.raises(StorageError, match="cannot be reached"):
        mirror(cut_off)
    assert mirror(ledger) == []
    forced(cut_off, "prompt:answer@3")
    assert mirror(ledger) == ["prompt:answer@production is version 3"]
    assert (ledger.registry.aliases("answer"), mirror(ledger)) == ({"production": 3}, [])


def test_no_verdict_here_and_no_mlflow_to_ask(cut_off: Ledger) -> None:
    refused(
        cut_off, f"no verdict on this ledger, and MLflow cannot be asked: the MLflow registry at '{CLOSED}' cannot"
    )


def test_many_who_promote_at_once_leave_one_history(shelf: Shelf, reopen: Reopen) -> None:
    ledgers = [reopen(mlflow_tracking_uri=CLOSED) for _ in range(3)]

    def take_turns(number: int) -> None:
        for version in (1, 2, 3, 1):
            name = f"prompt:answer@{(version + number) % 3 + 1}"
            try:
                forced(ledgers[number], name)
            except RequestError as error:
                assert "already in production" in str(error)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(take_turns, range(3)))
    told = ledgers[0].releases.history("prompt", limit=100)[::-1]
    assert [release.previous for release in told] == ["", *(release.target for release in told[:-1])]
    assert production(ledgers[0])["prompt:answer"] == told[-1].target
    assert verify_chain(ledgers[0].database) == 4 + len(told)  # three prompts published, one collection ingested


# Rolling back


def went_back(ledger: Ledger, wanted: str = "prompt:answer") -> int | None:
    [release] = roll_back(ledger, wanted, actor="ada", reason="it answers nothing").releases
    assert (release.action, release.actor, release.reason) == ("rollback", "ada", "it answers nothing")
    assert (release.verdict_id, release.is_forced) == ("", False)
    assert production(ledger)[f"{release.kind}:{release.name}"] == release.target
    return release.version


def test_going_back_goes_further_back_each_time(shelf: Shelf, ledger: Ledger) -> None:
    for version in (1, 2, 3):
        forced(ledger, f"prompt:answer@{version}")
    assert (went_back(ledger), went_back(ledger, "answer")) == (2, 1)
    assert ledger.registry.aliases("answer") == {"production": 1}
    assert ledger.released_prompt("answer", "production").digest == shelf.digest(1)
    with pytest.raises(
        NotFoundError, match="prompt:answer has no earlier release to go back to; `llmops release sta"
    ):
        roll_back(ledger, "prompt:answer", actor="ada")
    forced(ledger, "prompt:answer@3")
    assert went_back(ledger) == 1


def test_an_old_version_that_was_promoted_again_has_its_own_past(ledger: Ledger) -> None:
    for version in (1, 2, 1, 3):
        forced(ledger, f"prompt:answer@{version}")
    assert [went_back(ledger) for _ in range(3)] == [1, 2, 1]


def test_going_back_to_a_version_skips_what_lies_between(ledger: Ledger) -> None:
    for version in (1, 2, 3):
        forced(ledger, f"prompt:answer@{version}")
    with pytest.raises(NotFoundError, match="prompt:answer has no earlier release of version 3 to go back to"):
        roll_back(ledger, "prompt:answer@3", actor="ada")
    assert went_back(ledger, "prompt:answer@1") == 1
    with pytest.raises(NotFoundError, match="no earlier release"):
        roll_back(ledger, "prompt:answer@2", actor="ada")


def test_where_nothing_was_released_there_is_nothing_to_go_back_to(cut_off: Ledger) -> None:
    for wanted in ("prompt:answer", "collection:docs", "prompt:nobody", "docs"):
        with pytest.raises(NotFoundError, match="has no earlier release to go back to"):
            roll_back(cut_off, wanted, actor="ada")
    with pytest.raises(RequestError, match="'answer@production' is nothing to release"):
        roll_back(cut_off, "answer@production", actor="ada")
    assert production(cut_off) == {"collection:docs": "docs-1"}


def test_a_collection_goes_back_as_a_prompt_does(cut_off: Ledger) -> None:
    forced(cut_off, "collection:docs")
    assert cut_off.collections.candidate("docs") is None
    assert went_back(cut_off, "collection:docs") is None
    assert production(cut_off) == {"collection:docs": "docs-1"}
    forced(cut_off, "collection:docs@2")
    with pytest.raises(NotFoundError, match="collection:docs has no earlier release of version 2 to go back to"):
        roll_back(cut_off, "collection:docs@2", actor="ada")
    went_back(cut_off, "collection:docs@1")
    assert production(cut_off) == {"collection:docs": "docs-1"}


def test_a_collection_that_is_gone_is_not_gone_back_to(cut_off: Ledger) -> None:
    forced(cut_off, "collection:docs")
    cut_off.collections.forget("docs-1")
    with pytest.raises(NotFoundError, match="no collection 'docs-1'; there is: docs-2"):
        roll_back(cut_off, "collection:docs", actor="ada")
    assert production(cut_off) == {"collection:docs": "docs-2"}


def test_a_ledger_that_was_upgraded_goes_back_to_what_its_first_release_replaced(cut_off: Ledger) -> None:
    with cut_off.database.begin() as connection:
        connection.execute(delete(releases))  # revision 0001 kept no history
    forced(cut_off, "collection:docs")
    went_back(cut_off, "collection:docs")
    assert production(cut_off) == {"collection:docs": "docs-1"}
    with pytest.raises(NotFoundError, match="has no earlier release"):
        roll_back(cut_off, "collection:docs", actor="ada")


def test_a_prompt_that_cannot_be_read_is_not_gone_back_to(shelf: Shelf, ledger: Ledger) -> None:
    for version in (1, 2, 3):
        forced(ledger, f"prompt:answer@{version}")
    forget(ledger, shelf.digest(2))
    said = (
        f"the content of prompt 'answer' ({shelf.digest(2)[:12]}) is not on the ledger; run `llmops prompt publish"
    )
    with pytest.raises(StorageError, match=re.escape(said)):
        roll_back(ledger, "prompt:answer", actor="ada")
    assert production(ledger)["prompt:answer"] == shelf.digest(3)
    assert went_back(ledger, "prompt:answer@1") == 1
