"""A listing that breaks off goes on where it was; changes are asked for only where everything before is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llmops.errors import ConfigurationError, SourceError
from llmops.ingestion.listing import Listing, take_listing
from llmops.ingestion.run import Options, ingest
from llmops.ingestion.syncs import Sync
from tests.ingestion.scripted import PIPELINE, Trial

N_PAGES = 4


class KilledError(BaseException):
    """What a `kill -9` is to everything that would have come after."""


@contextmanager
def killed() -> Iterator[None]:
    """Around what is killed: nobody closes its sync any more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmops.ingestion.syncs.SyncBook.end", lambda *_, **__: None)
        with pytest.raises(KilledError):
            yield


@pytest.fixture
def filled(trial: Trial) -> Trial:
    """A wiki of seven documents, on four pages of a listing."""
    for name in "abcdefg":
        trial.wiki.put(name, f"Text of {name}.")
    return trial


def take(trial: Trial, collection: str = "") -> Listing:
    return take_listing(trial.wiki, trial.spec, trial.syncs, collection=collection)


def end(trial: Trial, listing: Listing, state: Any = "incomplete", collection: str = "") -> None:
    keeps = listing.is_broken and listing.has_advanced
    trial.syncs.end(listing.sync, state, collection=collection, checkpoint=listing.checkpoint, keeps_listing=keeps)


def names(listing: Listing) -> list[str]:
    return [item.uri for item in listing.items.values()]


@pytest.mark.parametrize("k", range(1, N_PAGES))
def test_a_listing_that_breaks_off_goes_on_there_and_nothing_is_lost_or_doubled(filled: Trial, k: int) -> None:
    wiki = filled.wiki
    wiki.breaks_before = k
    broken = take(filled)
    assert (names(broken), broken.problems) == (list("abcdefg")[: 2 * k], ["the wiki is away"])
    assert (broken.is_broken, broken.is_complete, broken.has_advanced) == (True, False, True)
    end(filled, broken)
    wiki.breaks_before = None
    whole = take(filled)
    assert (names(whole), whole.is_complete) == (list("abcdefg"), True)
    assert whole.sync.sync_id == broken.sync.sync_id
    assert wiki.asked[1][0] == {"token": 7, "after": "abcdefg"[2 * k - 1], "pages": k}
    assert [item.handle for item in whole.items.values()] == [item.handle for item in wiki.items.values()]


@pytest.mark.parametrize("k", range(1, N_PAGES + 1))
def test_a_process_killed_while_it_lists_goes_on_after_the_last_page_it_took(filled: Trial, k: int) -> None:
    def kill(number: int) -> None:
        if number == k:
            raise KilledError

    filled.wiki.on_page = kill
    with killed():
        take(filled)
    filled.wiki.on_page = lambda _: None
    listing = take(filled)
    assert (names(listing), listing.is_complete) == (list("abcdefg"), True)
    place = filled.wiki.asked[1][0]
    assert (place is None) if k == 1 else (place is not None and place["pages"] == k - 1)


def test_two_breaks_and_a_change_between_them_end_in_what_is_there_now(filled: Trial) -> None:
    wiki = filled.wiki
    wiki.breaks_before = 1
    end(filled, take(filled))
    wiki.breaks_before = 3
    end(filled, take(filled))
    wiki.put("e2", "New, on a page that is still to come.")
    wiki.remove("g")
    wiki.breaks_before = None
    listing = take(filled)
    assert names(listing) == list("abcdef")  # what is new on the pages before comes with the next sync
    assert (listing.is_complete, len(wiki.asked)) == (True, 3)


def test_a_listing_of_another_source_or_collection_begins_anew(filled: Trial) -> None:
    filled.wiki.breaks_before = 2
    end(filled, take(filled))
    filled.wiki.breaks_before = None
    filled.changes = {"source": {"type": "folder", "path": "elsewhere", "acl": ["everyone"]}}
    assert names(take(filled)) == list("abcdefg")
    assert filled.wiki.asked[-1] == (None, None)
    filled.changes = {}
    filled.wiki.breaks_before = 2
    end(filled, take(filled, "wiki-1"), collection="wiki-1")
    filled.wiki.breaks_before = None
    take(filled, "wiki-2")
    assert filled.wiki.asked[-1] == (None, None)


def test_a_checkpoint_that_its_source_refuses_is_dropped_and_the_next_try_begins_anew(filled: Trial) -> None:
    wiki = filled.wiki
    wiki.breaks_before = 2
    end(filled, take(filled))
    wiki.breaks_before, wiki.refuses_checkpoints = None, True
    refused = take(filled)
    assert (refused.problems, refused.has_advanced) == (["this cursor is not known any more"], False)
    end(filled, refused)
    whole = take(filled)
    assert (names(whole), whole.is_complete, wiki.asked[-1]) == (list("abcdefg"), True, (None, None))


def test_a_source_without_checkpoints_begins_anew(filled: Trial) -> None:
    filled.wiki.has_checkpoints, filled.wiki.breaks_before = False, 2
    end(filled, take(filled))
    filled.wiki.breaks_before = None
    assert (names(take(filled)), filled.wiki.asked[-1]) == (list("abcdefg"), (None, None))


def test_what_could_not_be_listed_is_remembered_by_a_listing_that_goes_on(filled: Trial) -> None:
    wiki = filled.wiki
    wiki.page_size, wiki.problems = 7, ("space HR: not allowed",)
    listing = take(filled)
    assert listing.problems == ["space HR: not allowed"]  # the process is killed here, and the sync never ended
    wiki.problems = ()
    again = take(filled)
    assert (again.problems, again.is_complete) == (["space HR: not allowed"], False)
    assert len(wiki.asked) == 1


def test_a_process_killed_after_its_listing_does_not_list_again(filled: Trial) -> None:
    def kill(_: str) -> None:
        raise KilledError

    filled.wiki.on_fetch = kill
    with killed():
        ingest(filled.spec, filled.indexer, options=Options())
    filled.wiki.on_fetch = lambda _: None
    asked = len(filled.wiki.asked)
    report = filled.sync()
    assert (report.n_indexed, report.is_complete, len(filled.wiki.asked)) == (7, True, asked)
    assert list(filled.texts()) == list("abcdefg")
    assert filled.last.state == "done"
    filled.sync()
    assert len(filled.wiki.asked) == asked + 1


def test_a_sync_that_broke_off_is_running_again_while_it_goes_on(filled: Trial) -> None:
    filled.wiki.breaks_before = 2
    end(filled, take(filled))
    assert filled.last.state == "incomplete"
    filled.wiki.breaks_before = None
    found: list[Sync] = []
    filled.wiki.on_page = lambda _: found.append(filled.last)
    take(filled)
    assert {(sync.state, sync.ended_at) for sync in found} == {("running", None)}


def test_a_listing_that_breaks_off_brings_in_what_it_listed_and_removes_nothing(filled: Trial) -> None:
    wiki = filled.wiki
    filled.sync()
    wiki.put("a", "Another text of a.")
    wiki.remove("b")
    wiki.breaks_before = 2
    report = filled.sync()
    assert (report.n_indexed, report.n_removed, report.is_complete) == (1, 0, False)
    assert report.listing_problems == ["the wiki is away"]
    assert filled.texts()["a"] == "Another text of a."
    assert "b" in filled.texts()
    assert (filled.last.state, filled.last.reason) == ("incomplete", "the wiki is away")
    wiki.breaks_before = None
    report = filled.sync()
    assert (report.n_found, report.n_unchanged, report.n_removed, report.is_complete) == (6, 6, 1, True)
    assert list(filled.texts()) == list("acdefg")


def test_a_source_that_is_set_up_wrongly_leaves_its_reason_with_the_sync(filled: Trial) -> None:
    def refuse(_: int) -> None:
        raise ConfigurationError("the space key 'X' is none; mend source.space")

    filled.wiki.on_page = refuse
    with pytest.raises(ConfigurationError, match="the space key 'X' is none"):
        filled.sync()
    assert (filled.last.state, filled.last.reason) == ("failed", "the space key 'X' is none; mend source.space")


@pytest.fixture
def changing(filled: Trial) -> Trial:
    """The same wiki, as a source that lists changes."""
    filled.wiki.lists_changes = True
    return filled


def test_changes_are_asked_for_only_after_a_complete_sync(changing: Trial) -> None:
    wiki = changing.wiki
    wiki.breaks_before = 2
    changing.sync()
    wiki.breaks_before = None
    changing.sync()
    assert wiki.asked[1][1] is None  # goes on with the listing of everything
    wiki.problems = ("space HR: not allowed",)
    changing.sync()
    assert wiki.asked[2] == (None, {"token": 7, "after": "", "pages": 0})
    wiki.put("h", "New.")
    changing.sync()
    assert wiki.asked[3][1] == wiki.asked[2][1]  # the last one was not complete
    wiki.problems = ()
    changing.sync()
    changing.sync()
    assert [since and since["token"] for _, since in wiki.asked[-2:]] == [7, 8]
    assert list(changing.texts()) == list("abcdefgh")


def test_a_listing_of_changes_removes_what_it_names_and_nothing_else(changing: Trial) -> None:
    wiki = changing.wiki
    changing.sync()
    wiki.put("a", "Another text of a.")
    wiki.remove("b")
    wiki.put("c", "Soon gone.")
    wiki.remove("c")
    wiki.put("c", "Here again.")
    report = changing.sync(accept_removals=True)
    assert (report.n_found, report.n_indexed, report.n_removed, report.n_embedded) == (2, 2, 1, 2)
    assert list(changing.texts()) == list("acdefg")
    assert (changing.texts()["a"], changing.texts()["c"]) == ("Another text of a.", "Here again.")
    report = changing.sync()
    assert (report.n_found, report.n_removed, report.n_chunks) == (0, 0, 6)


@pytest.mark.parametrize("k", [1, 2])
def test_changes_that_break_off_go_on_and_their_removals_are_not_lost(changing: Trial, k: int) -> None:
    wiki = changing.wiki
    changing.sync()
    for name in "ace":
        wiki.remove(name)
    wiki.put("b", "Another text of b.")
    wiki.put("g", "Another text of g.")
    wiki.breaks_before = k
    report = changing.sync(accept_removals=True)
    n_named = {1: 1, 2: 2}[k]  # on the pages that came, "a" and "b", then "c" and "e": what is named as gone goes
    assert (report.n_removed, report.is_complete) == (n_named + (k == 2), False)
    wiki.breaks_before = None
    report = changing.sync(accept_removals=True)
    assert (report.n_removed, report.is_complete) == (2 if k == 1 else 0, True)
    texts = changing.texts()
    assert (list(texts), texts["b"], texts["g"]) == (list("bdfg"), "Another text of b.", "Another text of g.")


def test_a_new_collection_lists_everything(changing: Trial) -> None:
    changing.sync()
    report = changing.sync(rebuild=True)
    assert (report.n_found, report.n_indexed, changing.wiki.asked[-1]) == (7, 7, (None, None))
    assert (changing.collection, list(changing.texts())) == ("wiki-2", list("abcdefg"))
    changing.sync()
    assert changing.wiki.asked[-1][1] is not None


@pytest.mark.parametrize("changes", [{"governance": {"licence": "MIT"}}, {"tenant": "acme"}])
def test_another_policy_reads_everything_again_where_only_changes_are_listed(
    changing: Trial, changes: dict[str, Any]
) -> None:
    changing.sync()
    changing.changes = changes
    report = changing.sync()
    assert (report.n_found, report.n_indexed) == (7, 7)
    assert changing.sync().n_found == 0


def test_a_source_that_fails_at_once_leaves_everything_as_it_is(filled: Trial) -> None:
    filled.sync()
    filled.wiki.breaks_before = 0
    report = filled.sync()
    assert (report.n_found, report.n_removed, report.n_chunks) == (0, 0, 7)
    assert (report.is_complete, filled.last.state) == (False, "incomplete")
    filled.wiki.breaks_before = None
    assert filled.sync().n_unchanged == 7


def test_a_failure_to_read_groups_keeps_the_last_ones(filled: Trial) -> None:
    from llmops.access import GroupBook

    filled.wiki.members = {"group:a": ("user:ada",)}
    filled.sync()
    with pytest.MonkeyPatch.context() as patch:

        def away() -> None:
            raise SourceError("the directory is away")

        patch.setattr(filled.wiki, "groups", away)
        report = filled.sync()
    assert report.listing_problems == ["groups: the directory is away"]
    assert GroupBook(filled.database).groups(PIPELINE) == {"group:a": ("user:ada",)}
