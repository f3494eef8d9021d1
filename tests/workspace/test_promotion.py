"""Releases: by evidence or by force on record, by name, with or without MLflow, and back again."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, update

from llmops.clients.database.tables import artifacts, collections, releases
from llmops.clients.mlflow import PromptContent
from llmops.errors import NotFoundError, RequestError, SpecError, StorageError
from llmops.releases.audit import latest_events, verify_chain
from llmops.workspace.ledger import Ledger
from llmops.workspace.promotion import mirror, promote, roll_back
from tests.workspace.shelf import CLOSED, Shelf, forced, production, publish, refused, verdict

Reopen = Callable[..., Ledger]


# By force


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_force_needs_its_reason(reason: str, ledger: Ledger) -> None:
    with pytest.raises(
        RequestError, match="a forced release needs its reason: add --reason TEXT; it is kept in the a"
    ):
        promote(ledger, ["prompt:answer"], actor="eve", is_forced=True, reason=reason)
    assert production(ledger) == {"collection:docs": "docs-1"}


def test_force_is_on_record(shelf: Shelf, cut_off: Ledger) -> None:
    verdict(cut_off, shelf.contents[2, 1], "fail")
    done = promote(cut_off, ["prompt:answer@2"], actor="eve", is_forced=True, reason="the demo is at noon")
    [release] = done.releases
    assert (release.actor, release.is_forced, release.reason, release.verdict_id) == (
        "eve",
        True,
        "the demo is at noon",
        "",
    )
    assert done.verdicts == ()
    [event, *_] = latest_events(cut_off.database)
    assert (event.actor, event.details["is_forced"], event.details["reason"]) == (
        "eve",
        True,
        "the demo is at noon",
    )


def test_what_is_in_production_is_not_promoted_again(shelf: Shelf, cut_off: Ledger) -> None:
    forced(cut_off, "prompt:answer@2")
    said = "prompt:answer@2 is already in production; there is nothing to promote"
    with pytest.raises(RequestError, match=said):
        promote(cut_off, ["prompt:answer@2"], actor="ada")
    with pytest.raises(RequestError, match=said):
        forced(cut_off, "answer@2")


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
        text = (
            (shelf.root / "prompts" / "answer.prompt.md")
            .read_text()
            .replace("max_sentences: 3", "max_sentences: 9")
        )
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


def test_an_old_version_that_was_promoted_again_has_its_own_past(cut_off: Ledger) -> None:
    for version in (1, 2, 1, 3):
        forced(cut_off, f"prompt:answer@{version}")
    assert [went_back(cut_off) for _ in range(3)] == [1, 2, 1]


def test_going_back_to_a_version_skips_what_lies_between(cut_off: Ledger) -> None:
    for version in (1, 2, 3):
        forced(cut_off, f"prompt:answer@{version}")
    with pytest.raises(NotFoundError, match="prompt:answer has no earlier release of version 3 to go back to"):
        roll_back(cut_off, "prompt:answer@3", actor="ada")
    assert went_back(cut_off, "prompt:answer@1") == 1
    with pytest.raises(NotFoundError, match="no earlier release"):
        roll_back(cut_off, "prompt:answer@2", actor="ada")


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


def test_a_prompt_that_cannot_be_read_is_not_gone_back_to(shelf: Shelf, cut_off: Ledger) -> None:
    for version in (1, 2, 3):
        forced(cut_off, f"prompt:answer@{version}")
    forget(cut_off, shelf.digest(2))
    said = (
        f"the content of prompt 'answer' ({shelf.digest(2)[:12]}) is not on the ledger; run `llmops prompt publish"
    )
    with pytest.raises(StorageError, match=re.escape(said)):
        roll_back(cut_off, "prompt:answer", actor="ada")
    assert production(cut_off)["prompt:answer"] == shelf.digest(3)
    assert went_back(cut_off, "prompt:answer@1") == 1
