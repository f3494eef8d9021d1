"""What is left out of a collection: near-duplicates, boilerplate, what has expired, what a policy refuses."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from llmops.ingestion.documents import DocumentLedger
from tests.ingestion.scripted import Trial

N_HISTORIES = int(os.environ.get("LLMOPS_TEST_HISTORIES", "6"))
NEAR = {"clean": {"near_duplicates": 0.8}}
PARKING = "The blue garage has forty two places for the members of the board, and ten places for their guests. "
HIVES = "The roof has three hives of bees that give honey every summer, and the kitchen buys all of it at once. "
SECRET = "AKIA" + "Q7ZL3VN2MXW4RTKB"


@pytest.fixture
def alike(trial: Trial) -> Trial:
    """A pipeline that leaves out near-duplicates."""
    trial.changes = NEAR
    return trial


def test_a_near_duplicate_is_left_out_and_says_of_what(alike: Trial) -> None:
    alike.wiki.put("a", PARKING * 3)
    alike.wiki.put("b", PARKING * 3 + "Thank you.")
    alike.wiki.put("c", HIVES * 3)
    report = alike.sync()
    assert (report.n_indexed, report.n_duplicate, report.is_complete) == (2, 1, True)
    assert list(alike.texts()) == ["a", "c"]
    row = alike.rows()["b"]
    assert (row.state, row.n_chunks) == ("duplicate", 0)
    assert row.reason.startswith("says the same as 'a' (0.")
    report = alike.sync()
    assert (report.n_unchanged, report.n_duplicate, report.n_embedded) == (2, 1, 0)
    assert [(p.uri, p.state) for p in report.problems] == [("b", "duplicate")]


def test_documents_with_other_readers_are_both_kept(alike: Trial) -> None:
    alike.wiki.put("a", PARKING * 3, acl=("team-a",))
    alike.wiki.put("b", PARKING * 3, acl=("team-b",))
    assert alike.sync().n_indexed == 2
    alike.wiki.allow("b", "team-a")
    report = alike.sync()
    assert (report.n_permissions, report.n_duplicate, list(alike.texts())) == (1, 1, ["a"])
    alike.wiki.allow("a", "team-b")  # whoever may read b only must find it again, within this sync
    report = alike.sync()
    assert (report.n_indexed, alike.readers()) == (1, {"a": ("team-b",), "b": ("team-a",)})


def test_the_duplicate_is_back_before_the_original_goes(alike: Trial) -> None:
    alike.wiki.put("a", PARKING * 3)
    alike.wiki.put("b", PARKING * 3)
    alike.sync()
    alike.wiki.remove("a")
    absent: list[str] = []
    delete = alike.indexer.store.delete_documents

    def watch(collection: str, keys: list[str]) -> None:
        absent.extend(set("ab") - set(alike.texts()) - {"a"})
        delete(collection, keys)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike.indexer.store, "delete_documents", watch)
        report = alike.sync(accept_removals=True)
    assert (report.n_removed, report.n_indexed, list(alike.texts())) == (1, 1, ["b"])
    assert absent == []


def test_an_original_that_is_held_still_stands_for_its_duplicate(alike: Trial) -> None:
    alike.wiki.put("a", PARKING * 3)
    alike.wiki.put("b", PARKING * 3)
    alike.sync()
    alike.wiki.remove("a")
    assert alike.sync().held
    assert list(alike.texts()) == ["a"]


def test_an_original_that_changes_gives_its_duplicate_back(alike: Trial) -> None:
    alike.wiki.put("a", PARKING * 3)
    alike.wiki.put("b", PARKING * 3)
    alike.sync()
    alike.wiki.put("a", HIVES * 3)
    report = alike.sync()
    assert (report.n_indexed, list(alike.texts())) == (2, ["a", "b"])


def test_a_new_original_takes_the_place_of_what_came_before_it(alike: Trial) -> None:
    alike.wiki.put("b", PARKING * 3)
    alike.sync()
    alike.wiki.put("a", PARKING * 3)
    alike.sync()
    assert list(alike.texts()) == ["a"]


def test_a_duplicate_comes_back_also_where_only_changes_are_listed(alike: Trial) -> None:
    alike.wiki.lists_changes = True
    alike.wiki.put("a", PARKING * 3)
    alike.wiki.put("b", PARKING * 3)
    alike.sync()
    alike.wiki.put("a", HIVES * 3)
    report = alike.sync()
    assert (report.n_found, report.n_indexed, list(alike.texts())) == (2, 2, ["a", "b"])
    alike.wiki.put("a", PARKING * 3)
    report = alike.sync()
    assert (report.n_found, report.n_duplicate, list(alike.texts())) == (2, 1, ["a"])


def test_the_outcome_is_that_of_a_clean_build_after_any_history(alike: Trial) -> None:
    """Random edits, removals and changes of readers, synced now and then; a rebuild must find nothing to mend."""
    rng = random.Random(20261121)
    texts = [PARKING * 3, PARKING * 3 + "Thank you.", PARKING * 3 + HIVES * 2, HIVES * 3, HIVES * 3 + PARKING, ""]
    n_left_out = 0
    for _ in range(N_HISTORIES):
        for _ in range(rng.randint(2, 4)):
            for _ in range(rng.randint(1, 5)):
                change(alike, rng, texts)
            alike.sync(allow_empty=True)
        state = states(alike)
        alike.sync(rebuild=True, allow_empty=True)
        assert state == states(alike)
        n_left_out += sum(row.state == "duplicate" for row in alike.rows().values())
    assert n_left_out > 0


def change(trial: Trial, rng: random.Random, texts: list[str]) -> None:
    name = rng.choice("abcde")
    if name in trial.wiki.items and rng.random() < 0.25:
        trial.wiki.remove(name)
    elif name in trial.wiki.items and rng.random() < 0.3:
        trial.wiki.allow(name, rng.choice(["team-a", "everyone"]))
    else:
        trial.wiki.put(name, rng.choice(texts), acl=(rng.choice(["team-a", "everyone"]),))


def states(trial: Trial) -> tuple[object, ...]:
    """Everything that a clean build must come to as well: points, readers, and what the ledger says."""
    points = {p.chunk.chunk_id: (p.chunk.uri, p.chunk.text, p.chunk.acl) for p in trial.points()}
    rows = {uri: (row.state, row.reason, row.n_chunks, row.acl) for uri, row in trial.rows().items()}
    return points, rows


FOOTER = "Terms, privacy and cookies of the garage company, all rights reserved."


def with_footer(text: str) -> str:
    return f"# Page\n\n{text}\n\n{FOOTER}\n"


def test_boilerplate_is_found_when_a_collection_is_made_and_stays_as_it_is(trial: Trial) -> None:
    trial.changes = {"clean": {"boilerplate": 0.5}}
    for n in range(6):
        trial.wiki.put(f"p{n}", with_footer(f"Rule {n} of the garage."))
    trial.sync()
    assert trial.texts() == {f"p{n}": f"Rule {n} of the garage." for n in range(6)}
    assert {row.labels.get("boilerplate_blocks") for row in trial.rows().values()} == {1}
    shape = trial.indexer.collections.serving("wiki")
    assert shape is not None and len(shape.boilerplate or ()) == 2  # the footer and the heading that all share
    for n in range(6):
        trial.wiki.put(f"q{n}", f"# Page\n\nRule {n} of the roof.\n\nAnother line that stands on every page.\n")
    trial.sync()
    assert "Another line that stands on every page." in trial.texts()["q0"]  # it was not there at the beginning
    trial.wiki.put("p0", with_footer("Rule 0 has changed."))
    trial.sync()
    assert trial.texts()["p0"] == "Rule 0 has changed."
    assert trial.indexer.collections.serving("wiki") == shape
    trial.sync(rebuild=True)
    assert trial.texts()["q0"] == "Rule 0 of the roof."


def test_a_page_of_nothing_but_boilerplate_keeps_it(trial: Trial) -> None:
    trial.changes = {"clean": {"boilerplate": 0.5}}
    for n in range(6):
        trial.wiki.put(f"p{n}", with_footer(f"Rule {n} of the garage."))
    trial.wiki.put("bare", f"# Page\n\n{FOOTER}\n")
    trial.sync()
    assert trial.texts()["bare"] == FOOTER
    assert "boilerplate_blocks" not in trial.rows()["bare"].labels


def test_fewer_than_five_documents_have_no_boilerplate(trial: Trial) -> None:
    trial.changes = {"clean": {"boilerplate": 0.5}}
    for n in range(4):
        trial.wiki.put(f"p{n}", with_footer(f"Rule {n} of the garage."))
    trial.sync()
    assert all(FOOTER in text for text in trial.texts().values())


def until(day: datetime) -> dict[str, str]:
    return {"expires": f"{day:%Y-%m-%d}"}


TODAY = datetime.now(UTC)


def test_a_document_is_expired_by_the_date_it_carries(trial: Trial) -> None:
    trial.wiki.put("over", "It was open.", metadata=until(TODAY - timedelta(days=2)))
    trial.wiki.put("open", "It is open.", metadata=until(TODAY + timedelta(days=2)))
    trial.wiki.put("plain", "No date.")
    trial.wiki.put("odd", "Odd.", metadata={"expires": "next summer"})
    report = trial.sync()
    assert (report.n_indexed, report.n_expired, report.n_failed) == (2, 1, 1)
    assert list(trial.texts()) == ["open", "plain"]
    rows = trial.rows()
    assert (rows["over"].state, rows["over"].n_chunks) == ("expired", 0)
    assert rows["over"].reason == f"expired on {TODAY - timedelta(days=2):%Y-%m-%d}"
    assert rows["odd"].reason == "its field 'expires' is 'next summer', which is no date; write it like 2027-01-31"
    assert rows["open"].expires_at == (TODAY + timedelta(days=2)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )


def test_a_document_expires_by_its_age(trial: Trial) -> None:
    trial.changes = {"governance": {"retention_days": 30}}
    trial.wiki.put("old", "Old.", modified_at=TODAY - timedelta(days=31))
    trial.wiki.put("new", "New.", modified_at=TODAY - timedelta(days=29))
    trial.wiki.put("undated", "Undated.")
    assert trial.sync().n_expired == 1
    assert list(trial.texts()) == ["new", "undated"]
    trial.wiki.put("old", "Old, and edited.", modified_at=TODAY)
    assert trial.sync().n_indexed == 1
    assert list(trial.texts()) == ["new", "old", "undated"]


@pytest.mark.parametrize("lists_changes", [False, True])
def test_a_document_whose_date_comes_goes_although_nobody_touched_it(trial: Trial, lists_changes: bool) -> None:
    trial.wiki.lists_changes = lists_changes
    trial.wiki.put("a", "It is open.", metadata=until(TODAY + timedelta(days=2)))
    trial.wiki.put("b", "No date.")
    trial.sync()
    ledger = DocumentLedger(trial.database, trial.collection)
    ledger.put([replace(trial.rows()["a"], expires_at=TODAY - timedelta(seconds=1))])
    report = trial.sync()
    assert (report.n_expired, report.n_embedded, list(trial.texts())) == (1, 0, ["b"])
    assert (trial.rows()["a"].state, trial.rows()["a"].n_chunks) == ("expired", 0)
    report = trial.sync()
    assert report.n_expired == (0 if lists_changes else 1)
    assert list(trial.texts()) == ["b"]


def test_a_longer_retention_brings_expired_documents_back(trial: Trial) -> None:
    trial.changes = {"governance": {"retention_days": 30}}
    trial.wiki.put("old", "Old.", modified_at=TODAY - timedelta(days=31))
    trial.sync()
    trial.changes = {"governance": {"retention_days": 60}}
    assert trial.sync().n_indexed == 1
    assert list(trial.texts()) == ["old"]


def test_an_expired_original_gives_its_duplicate_back(alike: Trial) -> None:
    alike.wiki.put("a", PARKING * 3)
    alike.wiki.put("b", PARKING * 3)
    alike.sync()
    ledger = DocumentLedger(alike.database, alike.collection)
    ledger.put([replace(alike.rows()["a"], expires_at=TODAY - timedelta(seconds=1))])
    alike.sync()
    assert list(alike.texts()) == ["b"]


def everywhere(trial: Trial, text: str) -> list[str]:
    """Files of this workspace in which a text stands."""
    trial.indexer.store.flush()
    place = trial.database.place
    root = os.path.dirname(place)  # noqa: PTH120 (a path as text)
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118
            with open(path, "rb") as file:  # noqa: PTH123
                if text.encode() in file.read():
                    found.append(os.path.relpath(path, root))
    return found


@pytest.mark.parametrize(
    ("policy", "text", "reason"),
    [
        ({"secrets": "refuse"}, f"The key is {SECRET} and opens all.", "which governance.secrets refuses"),
        ({"pii": "refuse"}, "Write to ada.lovelace@example.org about it.", "which governance.pii refuses"),
    ],
)
def test_a_refused_document_leaves_nothing_stored(
    trial: Trial, policy: dict[str, str], text: str, reason: str
) -> None:
    trial.changes = {"governance": policy}
    trial.wiki.put("good", "Nothing to hide.")
    trial.wiki.put("bad", text)
    report = trial.sync()
    assert (report.n_indexed, report.n_refused) == (1, 1)
    row = trial.rows()["bad"]
    assert (row.state, row.n_chunks, row.signature) == ("refused", 0, None)
    assert reason in row.reason
    assert list(trial.texts()) == ["good"]
    assert everywhere(trial, text) == []
    assert everywhere(trial, "Nothing to hide.") != []
    assert trial.sync().n_refused == 1


def test_a_document_that_is_refused_now_takes_its_earlier_version_with_it(trial: Trial) -> None:
    trial.changes = {"governance": {"secrets": "refuse"}}
    trial.wiki.put("a", "Nothing to hide.")
    trial.sync()
    trial.wiki.put("a", f"The key is {SECRET}.")
    report = trial.sync()
    assert (report.n_refused, trial.texts()) == (1, {})


def test_a_stricter_policy_reads_every_document_again(trial: Trial) -> None:
    trial.changes = {"governance": {"secrets": "keep"}}
    trial.wiki.put("a", f"The key is {SECRET}.")
    trial.sync()
    assert SECRET in trial.texts()["a"]
    for action, shown in (("redact", "<AWS"), ("label", SECRET)):
        trial.changes = {"governance": {"secrets": action}}
        assert trial.sync().n_indexed == 1
        assert shown in trial.texts()["a"]
        assert trial.rows()["a"].labels["secrets"]
