"""Export archives of Confluence and Slack: the contract, what only they have, and hostile archives."""

from __future__ import annotations

import json
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import ConfigurationError, SourceError
from llmops.ingestion.sources.confluence_export import open_confluence_export
from llmops.ingestion.sources.protocol import Item, Source
from llmops.ingestion.sources.slack_export import open_slack_export
from llmops.ingestion.sources.specs_api import ConfluenceExportSource, SlackExportSource
from tests.ingestion.sources.contract import LIMIT, NAMES, SourceContract, listing, text_of
from tests.ingestion.sources.vendors.exports import (
    Entry,
    SlackArchive,
    entities_xml,
    html_page,
    write_folder,
    write_zip,
)
from tests.ingestion.sources.vendors.slack import channel, user

MONDAY = 1_714_953_600  # 2024-05-06, 00:00 UTC


def confluence(path: Path, *, page_size: int = 500, **fields: object) -> Source:
    given = {"type": "confluence_export", "path": path.name, "acl": ("everyone",), **fields}
    spec = ConfluenceExportSource.model_validate(given)
    return open_confluence_export(spec, str(path.parent / "spec.yaml"), page_size=page_size)


def slack(path: Path, **fields: object) -> Source:
    spec = SlackExportSource.model_validate({"type": "slack_export", "path": path.name, **fields})
    return open_slack_export(spec, str(path.parent / "spec.yaml"))


class XmlPlace:
    def __init__(self, path: Path) -> None:
        self.path = path / "Confluence-export.zip"
        self.entries: dict[str, Entry] = {}
        self._save()

    def _save(self) -> None:
        self.path.unlink(missing_ok=True)
        write_zip(
            self.path,
            {"entities.xml": entities_xml(list(self.entries.values())), "exportDescriptor.properties": ""},
        )

    def open(self) -> Source:
        return confluence(self.path, page_size=3)

    def write(self, name: str, text: str) -> None:
        version = self.entries[name].version + 1 if name in self.entries else 1
        key = 100 + NAMES.index(name)
        self.entries[name] = Entry(key=key, title=name.title(), body=f"<p>{text}</p>", version=version)
        self._save()

    def remove(self, name: str) -> None:
        del self.entries[name]
        self._save()

    def uri(self, name: str) -> str:
        return f"ENG/pages/{100 + NAMES.index(name)}"


class HtmlPlace:
    def __init__(self, path: Path) -> None:
        self.path = path / "ENG"
        write_folder(self.path, {"index.html": html_page("Home", "index")})

    def open(self) -> Source:
        return confluence(self.path, page_size=3)

    def write(self, name: str, text: str) -> None:
        write_folder(self.path, {self.uri(name): html_page(name.title(), f"<p>{text}</p>")})

    def remove(self, name: str) -> None:
        (self.path / self.uri(name)).unlink()

    def uri(self, name: str) -> str:
        return f"{name.title()}_{100 + NAMES.index(name)}.html"


class SlackExportPlace:
    """Each document is a thread in a channel of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path / "acme export"
        self.archive = SlackArchive(channels=[])
        self.path.mkdir()
        self._save()

    def _save(self) -> None:
        write_folder(self.path, self.archive.files())

    def open(self) -> Source:
        return slack(self.path)

    def key(self, name: str) -> str:
        return f"C{NAMES.index(name)}"

    def write(self, name: str, text: str) -> None:
        if self.key(name) not in [one["id"] for one in self.archive.channels]:
            self.archive.channels.append(channel(self.key(name), name))
        root: dict[str, Any] = {"type": "message", "user": "UANN", "text": text, "ts": f"{MONDAY}.000100"}
        root |= {"thread_ts": root["ts"], "reply_count": 1}
        reply = {
            "type": "message",
            "user": "UBOB",
            "text": "Yes.",
            "ts": f"{MONDAY + 90_000}.0",
            "thread_ts": root["ts"],
        }
        self.archive.days |= {f"{name}/2024-05-06.json": [root], f"{name}/2024-05-07.json": [reply]}
        self._save()

    def remove(self, name: str) -> None:
        self.archive.channels = [one for one in self.archive.channels if one["name"] != name]
        for day in ("2024-05-06", "2024-05-07"):
            del self.archive.days[f"{name}/{day}.json"]
            (self.path / name / f"{day}.json").unlink()
        self._save()

    def uri(self, name: str) -> str:
        return f"{self.key(name)}/thread/{MONDAY}.000100"


class TestConfluenceXml(SourceContract):
    min_pages = 3
    is_snapshot = True

    @pytest.fixture
    def place(self, tmp_path: Path) -> XmlPlace:
        return XmlPlace(tmp_path)


class TestConfluenceHtml(SourceContract):
    min_pages = 3
    is_snapshot = True

    @pytest.fixture
    def place(self, tmp_path: Path) -> HtmlPlace:
        return HtmlPlace(tmp_path)


class TestSlackExport(SourceContract):
    min_pages = 7
    is_snapshot = True

    @pytest.fixture
    def place(self, tmp_path: Path) -> SlackExportPlace:
        return SlackExportPlace(tmp_path)


def xml_items(tmp_path: Path, *entries: Entry, **fields: Any) -> dict[str, Item]:
    write_zip(tmp_path / "export.zip", {"entities.xml": entities_xml(list(entries))})
    with closing(confluence(tmp_path / "export.zip", **fields)) as source:
        return listing(source).items


def test_drafts_trash_and_earlier_versions_are_no_documents(tmp_path: Path) -> None:
    items = xml_items(
        tmp_path,
        Entry(key=1, title="Now", body="x", version=2, labels=("b", "a")),
        Entry(key=2, title="Now", body="old", original=1),
        Entry(key=3, title="Draft", body="x", status="draft"),
        Entry(key=4, title="Bin", body="x", status="deleted"),
        Entry(key=5, title="Post", body="x", kind="BlogPost"),
    )
    assert set(items) == {"ENG/pages/1", "ENG/blogposts/5"}
    assert items["ENG/pages/1"].metadata == {"space": "ENG", "kind": "page", "labels": ["a", "b"]}


def test_restrictions_of_an_xml_export_narrow_from_the_top(tmp_path: Path) -> None:
    items = xml_items(
        tmp_path,
        Entry(key=1, title="Open", body="x"),
        Entry(key=2, title="HR", body="x", groups=("HR",), users=("ann",), parent=1),
        Entry(key=3, title="Below", body="x", parent=2),
        Entry(key=4, title="Ann only", body="x", parent=3, users=("ann", "bob")),
        Entry(key=5, title="Orphan", body="x", parent=99),
        Entry(key=6, title="Stranger", body="x", users=("zoe",)),
    )
    assert {uri: item.acl for uri, item in items.items()} == {
        "ENG/pages/1": ("everyone",),
        "ENG/pages/2": ("group:confluence/hr", "user:ann@example.org"),
        "ENG/pages/3": ("group:confluence/hr", "user:ann@example.org"),
        "ENG/pages/4": ("user:ann@example.org",),
        "ENG/pages/5": None,
        "ENG/pages/6": None,
    }


def test_the_specs_principals_narrow_too(tmp_path: Path) -> None:
    items = xml_items(
        tmp_path,
        Entry(key=1, title="Open", body="x"),
        Entry(key=2, title="Ann", body="x", users=("ann",)),
        acl=("group:confluence/staff", "user:ann@example.org"),
    )
    assert items["ENG/pages/1"].acl == ("group:confluence/staff", "user:ann@example.org")
    assert items["ENG/pages/2"].acl == ("user:ann@example.org",)


def test_a_code_section_of_an_xml_export_comes_whole(tmp_path: Path) -> None:
    code = (
        '<ac:structured-macro ac:name="code"><ac:plain-text-body>'
        "<![CDATA[if a[b[0]]]]><![CDATA[>c && d < e: pass]]>"
        "</ac:plain-text-body></ac:structured-macro>"
    )
    write_zip(tmp_path / "export.zip", {"top/entities.xml": entities_xml([Entry(key=1, title="Code", body=code)])})
    with closing(confluence(tmp_path / "export.zip", base_url="https://wiki.example.org")) as source:
        item = listing(source).items["ENG/pages/1"]
        assert "<pre>if a[b[0]]&gt;c &amp;&amp; d &lt; e: pass</pre>" in text_of(
            source.fetch(item, max_bytes=LIMIT).raw
        )
        assert item.url == "https://wiki.example.org/pages/viewpage.action?pageId=1"


def test_an_html_export_in_a_zip_gives_content_without_its_frame(tmp_path: Path) -> None:
    page = html_page("Roll back", "<h2>Steps</h2><p>Do it.</p>", above=("Eng", "Runbooks"))
    write_zip(tmp_path / "export.zip", {"ENG/Roll-back_123.html": page, "ENG/index.html": "x"})
    with closing(confluence(tmp_path / "export.zip", acl=("team-x",))) as source:
        items = listing(source).items
        assert list(items) == ["ENG/Roll-back_123.html"]
        fetched = source.fetch(items["ENG/Roll-back_123.html"], max_bytes=LIMIT)
    assert (fetched.title, fetched.metadata) == ("Roll back", {"above": ["Eng", "Runbooks"]})
    assert b"Do it." in fetched.raw
    assert b"generated by" not in fetched.raw
    assert items["ENG/Roll-back_123.html"].acl == ("team-x",)


@pytest.fixture
def archive() -> SlackArchive:
    return SlackArchive(
        groups=[channel("G2", "board", is_private=True, members=["UANN", "UGUEST"])],
        users=[user("ann"), user("bob"), user("guest", is_restricted=True)],
        days={
            "general/2024-05-06.json": [message(MONDAY, "one"), message(MONDAY + 80_000, "late")],
            "general/2024-05-07.json": [message(MONDAY + 86_399, "still Monday in UTC")],
            "board/2024-05-06.json": [message(MONDAY, "secret")],
        },
    )


def message(at: int, text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "user": "UANN", "text": text, "ts": f"{at}.000000", **fields}


def test_permissions_of_a_slack_export(tmp_path: Path, archive: SlackArchive) -> None:
    write_zip(tmp_path / "export.zip", archive.files())
    with closing(slack(tmp_path / "export.zip")) as source:
        items = listing(source).items
        assert {uri: item.acl for uri, item in items.items()} == {
            "C1/day/2024-05-06": ("group:slack/t0acme",),
            "G2/day/2024-05-06": ("group:slack/g2",),
        }
        assert source.groups() == {
            "group:slack/t0acme": ("user:ann@acme.example", "user:bob@acme.example"),
            "group:slack/g2": ("user:ann@acme.example", "user:guest@acme.example"),
        }
        said = source.fetch(items["C1/day/2024-05-06"], max_bytes=LIMIT).raw.decode()
    assert said.endswith("ann (2024-05-06 23:59): still Monday in UTC")


def test_a_slack_export_can_be_cut_down_by_the_spec(tmp_path: Path, archive: SlackArchive) -> None:
    write_zip(tmp_path / "export.zip", archive.files())
    with closing(
        slack(tmp_path / "export.zip", private=False, acl=("team-x",), channels=("general", "gone"))
    ) as source:
        found = listing(source)
    assert {uri: item.acl for uri, item in found.items.items()} == {"C1/day/2024-05-06": ("team-x",)}
    assert found.problems == ["no channel gone in the export; mend channels"]


def test_without_a_team_public_channels_are_hidden(tmp_path: Path, archive: SlackArchive) -> None:
    archive.users = []
    write_zip(tmp_path / "export.zip", archive.files())
    with closing(slack(tmp_path / "export.zip")) as source:
        assert listing(source).items["C1/day/2024-05-06"].acl is None


def test_a_damaged_day_is_a_problem_of_its_channel(tmp_path: Path, archive: SlackArchive) -> None:
    files = archive.files() | {"general/2024-05-08.json": b"{cut off"}
    write_zip(tmp_path / "export.zip", files)
    with closing(slack(tmp_path / "export.zip")) as source:
        found = listing(source)
    assert list(found.items) == ["G2/day/2024-05-06"]
    assert len(found.problems) == 1
    assert "general/2024-05-08.json" in found.problems[0]


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<hibernate-generic><object class="Page"><id name="id">1</id><property name="title">&b;</property></object>
</hibernate-generic>"""


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        (BOMB, "has a document type"),
        (BOMB.replace('"aaaaaaaaaa"', 'SYSTEM "file:///etc/hostname"'), "has a document type"),
        ("<hibernate-generic><object", "is damaged"),
        ("not xml", "is damaged"),
    ],
    ids=["expansion", "external", "cut off", "no xml"],
)
def test_hostile_xml_is_refused(tmp_path: Path, xml: str, said: str) -> None:
    write_zip(tmp_path / "export.zip", {"entities.xml": xml})
    with closing(confluence(tmp_path / "export.zip")) as source, pytest.raises(SourceError, match=said):
        listing(source)


def test_a_zip_bomb_is_refused_by_what_it_says_and_by_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    write_zip(path, {"entities.xml": b" " * 50_000_000})
    with pytest.raises(ConfigurationError, match="holds more than 1,000,000 bytes; raise max_export_bytes"):
        confluence(path, max_export_bytes=1_000_000)
    raw = path.read_bytes()
    lying = raw.replace((50_000_000).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    path.write_bytes(lying)
    with (
        closing(confluence(path, max_export_bytes=1_000_000)) as source,
        pytest.raises(SourceError, match="damaged"),
    ):
        listing(source)


def test_paths_that_lead_out_of_an_archive_lead_nowhere(tmp_path: Path) -> None:
    write_zip(
        tmp_path / "export.zip",
        {"../../etc/evil_1.html": html_page("Evil", "x"), "Fine_2.html": html_page("F", "y")},
    )
    with closing(confluence(tmp_path / "export.zip")) as source:
        assert len(listing(source).items) == 2
    assert not (tmp_path.parent.parent / "etc").exists()
    folder, outside = tmp_path / "folder", tmp_path / "outside.html"
    outside.write_text("secret")
    write_folder(folder, {"Fine_2.html": html_page("F", "y")})
    (folder / "Link_3.html").symlink_to(outside)
    with closing(confluence(folder)) as source:
        assert list(listing(source).items) == ["Fine_2.html"]


def test_a_damaged_page_is_a_problem_and_the_others_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    write_zip(path, {"A_1.html": html_page("A", "x" * 3000), "B_2.html": html_page("B", "y")})
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("A_1.html").header_offset + 60
    raw = bytearray(path.read_bytes())
    raw[start : start + 40] = bytes(40)
    path.write_bytes(raw)
    with closing(confluence(path)) as source:
        found = listing(source)
    assert list(found.items) == ["B_2.html"]
    assert "'A_1.html' is damaged" in found.problems[0]


@pytest.mark.parametrize("kind", ["confluence", "slack"])
@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("none.zip", None, "no export"),
        ("text.zip", b"not a zip", "is no zip that can be read"),
        ("empty.zip", b"PK\x05\x06" + bytes(18), r"neither entities\.xml nor HTML|no channels\.json"),
    ],
)
def test_what_is_no_export_is_said(tmp_path: Path, kind: str, name: str, raw: bytes | None, said: str) -> None:
    if raw is not None:
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(ConfigurationError, match=said):
        (confluence if kind == "confluence" else slack)(tmp_path / name)


def test_a_page_that_is_encrypted_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    write_zip(path, {"A_1.html": html_page("A", "x")})
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with closing(confluence(path)) as source:
        found = listing(source)
    assert found.items == {}
    assert "encrypted" in found.problems[0]


def test_json_that_is_no_list_is_no_export(tmp_path: Path) -> None:
    write_zip(tmp_path / "export.zip", {"channels.json": json.dumps({"a": 1})})
    with closing(slack(tmp_path / "export.zip")) as source, pytest.raises(SourceError, match="holds no list"):
        listing(source)
