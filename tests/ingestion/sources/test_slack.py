"""Slack's Web API: the contract, and what only Slack has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from llmops.errors import DocumentGoneError, SourceDeniedError, SourceError
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.sources.slack import Slack, open_slack
from llmops.ingestion.sources.slack_text import People, plain, text_of
from llmops.ingestion.sources.specs_api import SlackSource
from tests.ingestion.sources.contract import LIMIT, NAMES, PATIENCE, ApiSourceContract, listing
from tests.ingestion.sources.vendors.server import Answer
from tests.ingestion.sources.vendors.slack import TOKEN, Workspace, channel, refused, user

DAY_S = 86_400
MONDAY = 1_714_953_600  # 2024-05-06, 00:00 UTC


class SlackPlace:
    """A workspace with the contract's documents as threads of one channel, one a day."""

    listing = r"/conversations\.history"
    secrets = (TOKEN,)
    renews = False

    def __init__(self, workspace: Workspace, **fields: object) -> None:
        self.workspace, self.server, self.fields = workspace, workspace.server, fields
        self.token = TOKEN

    def open(self) -> Slack:
        fields = {"type": "slack", "token_env": "SLACK_TOKEN", "base_url": f"{self.server.url}/api", **self.fields}
        return open_slack(SlackSource.model_validate(fields), {"SLACK_TOKEN": self.token}, patience=PATIENCE)

    def ts(self, name: str) -> str:
        return f"{MONDAY + NAMES.index(name) * DAY_S + 3600}.000100"

    def write(self, name: str, text: str) -> None:
        said, ts = self.workspace.messages["C1"], self.ts(name)
        known = next((one for one in said if one["ts"] == ts), None)
        if known is not None:
            edited = float(known.get("edited", {"ts": ts})["ts"]) + 60
            known |= {"text": text, "edited": {"user": "UANN", "ts": f"{edited:.6f}"}}
            return
        said.append({"type": "message", "user": "UANN", "text": text, "ts": ts, "thread_ts": ts})
        reply = f"{float(ts) + 60:.6f}"
        said.append({"type": "message", "user": "UBOB", "text": "I agree.", "ts": reply, "thread_ts": ts})

    def remove(self, name: str) -> None:
        said = self.workspace.messages["C1"]
        said[:] = [one for one in said if one["thread_ts"] != self.ts(name)]

    def uri(self, name: str) -> str:
        return f"C1/thread/{self.ts(name)}"

    def fetching(self, name: str) -> str:
        return rf"/conversations\.replies\?.*ts={self.ts(name)}"

    def expire(self) -> None:
        self.workspace.token = "another token"

    def renew(self) -> None:
        self.token = "another token"


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    made = Workspace()
    with made.server:
        yield made


class TestContract(ApiSourceContract):
    min_pages = 3

    @pytest.fixture
    def place(self, workspace: Workspace) -> SlackPlace:
        return SlackPlace(workspace)


def say(workspace: Workspace, key: str, at: float, text: str, **fields: Any) -> dict[str, Any]:
    message = {"type": "message", "user": "UANN", "text": text, "ts": f"{at:.6f}", **fields}
    workspace.messages.setdefault(key, []).append(message)
    return message


def items_of(workspace: Workspace, **fields: object) -> dict[str, Item]:
    with closing(SlackPlace(workspace, **fields).open()) as source:
        return listing(source).items


def read(workspace: Workspace, item: Item) -> str:
    with closing(SlackPlace(workspace).open()) as source:
        return source.fetch(item, max_bytes=LIMIT).raw.decode()


def test_messages_outside_threads_are_one_document_a_day(workspace: Workspace) -> None:
    for hour in range(5):
        say(workspace, "C1", MONDAY + hour * 3600, f"Monday {hour}")
    say(workspace, "C1", MONDAY - 60, "Sunday night")
    root = say(workspace, "C1", MONDAY + 7200.5, "A question")
    say(workspace, "C1", MONDAY + 7300, "An answer", thread_ts=root["ts"], user="UBOB")
    items = items_of(workspace)
    assert set(items) == {"C1/day/2024-05-06", "C1/day/2024-05-05", f"C1/thread/{root['ts']}"}
    assert items["C1/day/2024-05-06"].title == "#general, 2024-05-06"
    day = read(workspace, items["C1/day/2024-05-06"])
    assert day.startswith("ann (2024-05-06 00:00): Monday 0\n\nann (2024-05-06 01:00): Monday 1")
    assert "question" not in day
    thread = items[f"C1/thread/{root['ts']}"]
    assert read(workspace, thread) == "ann (2024-05-06 02:00): A question\n\nbob (2024-05-06 02:01): An answer"
    assert thread.title == "#general: A question"
    assert thread.url == f"https://acme.slack.example/archives/C1/p{root['ts'].replace('.', '')}"


def test_a_day_that_spans_many_pages_resumes_whole(workspace: Workspace) -> None:
    for i in range(9):
        say(workspace, "C1", MONDAY + i * 60, f"Monday {i}")
        say(workspace, "C1", MONDAY + DAY_S + i * 60, f"Tuesday {i}")
    source = SlackPlace(workspace).open()
    first = listing(source, n_pages=1)
    assert set(first.items) == {"C1/day/2024-05-07"}
    rest = listing(source, first.checkpoint)
    assert set(rest.items) == {"C1/day/2024-05-06"}
    assert {**first.items, **rest.items} == listing(source).items
    source.close()


def test_an_edit_and_a_deletion_change_a_days_version(workspace: Workspace) -> None:
    say(workspace, "C1", MONDAY, "one")
    message = say(workspace, "C1", MONDAY + 1, "two")
    versions = [items_of(workspace)["C1/day/2024-05-06"].version]
    message |= {"text": "deux", "edited": {"user": "UANN", "ts": f"{MONDAY + 9}.000000"}}
    versions.append(items_of(workspace)["C1/day/2024-05-06"].version)
    workspace.messages["C1"].remove(message)
    versions.append(items_of(workspace)["C1/day/2024-05-06"].version)
    assert len(set(versions)) == 3


def test_a_thread_that_is_still_talked_in_is_always_fetched(workspace: Workspace) -> None:
    root = say(workspace, "C1", MONDAY, "old")
    reply = say(workspace, "C1", time.time() - 60, "new", thread_ts=root["ts"])
    assert items_of(workspace)[f"C1/thread/{root['ts']}"].version == ""
    reply["ts"] = f"{MONDAY + 60:.6f}"
    assert items_of(workspace)[f"C1/thread/{root['ts']}"].version != ""


def test_a_new_reply_changes_a_settled_threads_version(workspace: Workspace) -> None:
    root = say(workspace, "C1", MONDAY, "old")
    say(workspace, "C1", MONDAY + 1, "first", thread_ts=root["ts"])
    before = items_of(workspace)[f"C1/thread/{root['ts']}"].version
    say(workspace, "C1", MONDAY + 2, "second", thread_ts=root["ts"])
    assert items_of(workspace)[f"C1/thread/{root['ts']}"].version != before != ""


def test_a_public_channel_is_for_full_members_and_a_private_one_for_its_own(workspace: Workspace) -> None:
    workspace.channels["G2"] = channel("G2", "board", is_private=True)
    workspace.members["G2"] = ["UANN", "UFOREIGN"]
    workspace.users["UGUEST"] = user("guest", is_restricted=True)
    workspace.users["UBOT"] = user("bot", is_bot=True)
    workspace.users["UGONE"] = user("gone", deleted=True)
    workspace.users["UBOB"]["profile"].pop("email")
    say(workspace, "C1", MONDAY, "public")
    say(workspace, "G2", MONDAY, "private")
    source = SlackPlace(workspace).open()
    items = listing(source).items
    assert items["C1/day/2024-05-06"].acl == ("group:slack/t0acme",)
    assert items["G2/day/2024-05-06"].acl == ("group:slack/g2",)
    assert source.groups() == {
        "group:slack/t0acme": ("user:ann@acme.example", "user:cat@acme.example", "user:ubob"),
        "group:slack/g2": ("user:ann@acme.example", "user:uforeign"),
    }
    workspace.members["G2"] = ["UCAT"]
    assert source.groups()["group:slack/g2"] == ("user:cat@acme.example",)
    workspace.channels["C1"]["is_private"] = True
    assert listing(source).items["C1/day/2024-05-06"].acl == ("group:slack/c1",)
    source.close()


def test_channels_are_chosen_by_name_or_id_and_only_those_the_app_is_in(workspace: Workspace) -> None:
    workspace.channels |= {
        "C2": channel("C2", "random"),
        "C3": channel("C3", "old", is_archived=True),
        "C4": channel("C4", "others", is_member=False),
        "G5": channel("G5", "board", is_private=True),
    }
    for key in workspace.channels:
        say(workspace, key, MONDAY, "hello")

    def listed(**fields: object) -> set[str]:
        return {uri[:2] for uri in items_of(workspace, **fields)}

    assert listed() == {"C1", "C2", "G5"}
    assert listed(private=False, archived=True) == {"C1", "C2", "C3"}
    assert listed(channels=("general", "G5")) == {"C1", "G5"}


def test_a_channel_that_the_app_is_not_in_is_a_problem(workspace: Workspace) -> None:
    source = SlackPlace(workspace, channels=("general", "secret")).open()
    assert listing(source).problems == ["no channel secret that the app is in; invite it, or mend channels"]
    source.close()


def test_a_channel_that_refuses_its_history_is_a_problem_and_the_others_are_listed(workspace: Workspace) -> None:
    workspace.channels["C2"] = channel("C2", "random")
    say(workspace, "C1", MONDAY, "hello")
    say(workspace, "C2", MONDAY, "hello")
    workspace.server.fail(r"history\?channel=C1", refused("channel_not_found"))
    source = SlackPlace(workspace).open()
    found = listing(source)
    assert found.problems == ["the channel general cannot be listed (channel_not_found)"]
    assert list(found.items) == ["C2/day/2024-05-06"]
    source.close()


@pytest.mark.parametrize("code", ["invalid_auth", "token_expired", "token_revoked", "missing_scope"])
def test_a_token_that_slack_refuses_is_denied(workspace: Workspace, code: str) -> None:
    workspace.server.fail(r"/auth\.test", refused(code))
    source = SlackPlace(workspace).open()
    with pytest.raises(SourceDeniedError, match=rf"auth\.test \({code}\)"):
        listing(source)
    source.close()


def test_ratelimited_in_the_body_waits_as_told(workspace: Workspace) -> None:
    say(workspace, "C1", MONDAY, "hello")
    busy = Answer(body={"ok": False, "error": "ratelimited"}, headers={"Retry-After": "0.3"})
    workspace.server.fail(r"/conversations\.list", busy, times=1)
    assert len(items_of(workspace)) == 1
    times = [one.at_s for one in workspace.server.matching(r"/conversations\.list")]
    assert times[1] - times[0] >= 0.3


def test_only_the_last_days_are_listed_where_the_spec_says_so(workspace: Workspace) -> None:
    say(workspace, "C1", MONDAY, "long ago")
    say(workspace, "C1", time.time() - 3 * DAY_S, "of late")
    assert [item.title for item in items_of(workspace, days=7).values()] != []
    assert "C1/day/2024-05-06" not in items_of(workspace, days=7)
    assert "C1/day/2024-05-06" in items_of(workspace)


def test_reports_of_comings_and_goings_are_left_out(workspace: Workspace) -> None:
    say(workspace, "C1", MONDAY, "<@UANN> has joined the channel", subtype="channel_join")
    assert items_of(workspace) == {}
    say(workspace, "C1", MONDAY + 1, "Deployed", subtype="bot_message", username="deploybot", user=None)
    items = items_of(workspace)
    assert read(workspace, items["C1/day/2024-05-06"]) == "deploybot (2024-05-06 00:00): Deployed"
    workspace.messages["C1"].clear()
    with pytest.raises(DocumentGoneError, match="its messages were deleted"):
        read(workspace, items["C1/day/2024-05-06"])


def test_a_history_out_of_order_is_refused(workspace: Workspace) -> None:
    said = [{"type": "message", "text": "x", "ts": f"{MONDAY + i}.000000"} for i in (1, 2)]
    workspace.server.fail(r"history", Answer(body={"ok": True, "messages": said}))
    with pytest.raises(SourceError, match="out of order"):
        items_of(workspace)


@pytest.mark.parametrize(
    ("mrkdwn", "text"),
    [
        ("Hi <@UANN>, see <#C1|general>", "Hi @ann, see #general"),
        ("<@UNOBODY> and <@UX|zed>", "@UNOBODY and @zed"),
        ("<https://x.example/a?b=1&amp;c=2|the page>", "the page (https://x.example/a?b=1&c=2)"),
        ("<https://x.example>", "https://x.example"),
        ("<mailto:a@x.example|a@x.example>", "a@x.example"),
        ("<!here> <!subteam^S1|@ops> <!date^1392734382^{date}|Feb 18, 2014>", "@here @ops Feb 18, 2014"),
        ("1 &lt; 2 &amp;&amp; 3 &gt; 2; &amp;lt; stays", "1 < 2 && 3 > 2; &lt; stays"),
        ("*bold* `code` :tada:", "*bold* `code` :tada:"),
    ],
)
def test_mrkdwn_is_spelled_out(mrkdwn: str, text: str) -> None:
    assert plain(mrkdwn, People([user("ann")])) == text


def test_blocks_attachments_and_files_speak_too() -> None:
    rich = [
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [{"text": "from blocks"}]}]}
    ]
    message = {
        "text": "",
        "blocks": rich,
        "attachments": [{"title": "Alert", "text": "disk <https://x.example|full>"}, {"fallback": "old style"}],
        "files": [{"id": "F1", "name": "plan.pdf", "title": "The plan"}],
    }
    expected = "from blocks\nAlert\ndisk full (https://x.example)\nold style\n[file: The plan]"
    assert text_of(message, People([])) == expected
