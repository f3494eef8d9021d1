"""What each command prints, and how it ends."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.gateway.workspaces import write_template

COMMANDS = (
    (),
    ("init",),
    ("up",),
    ("doctor",),
    ("ingest",),
    ("ingest", "run"),
    ("ingest", "status"),
    ("search",),
    ("ask",),
    ("prompt",),
    ("prompt", "publish"),
    ("prompt", "list"),
    ("prompt", "show"),
    ("prompt", "diff"),
    ("prompt", "alias"),
    ("guard",),
    ("guard", "explain"),
    ("eval",),
    ("eval", "run"),
    ("eval", "list"),
    ("eval", "show"),
    ("eval", "compare"),
    ("eval", "log"),
    ("eval", "dataset"),
    ("release",),
    ("release", "promote"),
    ("release", "rollback"),
    ("release", "status"),
    ("release", "sync"),
    ("lineage",),
    ("trace",),
    ("trace", "list"),
    ("trace", "show"),
    ("audit",),
    ("audit", "list"),
    ("audit", "verify"),
    ("key",),
    ("key", "create"),
    ("key", "list"),
    ("key", "revoke"),
    ("schema",),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(llmops: Command, command: tuple[str, ...]) -> None:
    ended = llmops(*command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.lstrip().startswith("Usage: llmops")
    assert len(ended.out.splitlines()) > 5


def test_the_commands_stand_in_the_order_of_a_newcomer(llmops: Command) -> None:
    lines = llmops("--help").out.partition("Commands:")[2].split("\n")
    names = [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert names == [
        *("init", "up", "doctor", "ingest", "search", "ask", "prompt", "guard", "eval", "release", "lineage"),
        *("trace", "audit", "key", "worker", "schema"),
    ]


def test_no_command_is_a_question_for_help(llmops: Command) -> None:
    ended = llmops()
    assert ended.code == 2
    assert "Usage: llmops" in ended.out + ended.err


WRONG = (("dance",), ("search",), ("search", "x", "--nope"), ("search", "x", "-k", "0"), ("up", "--port", "x"))


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_wrong_command_line_exits_2(llmops: Command, arguments: tuple[str, ...]) -> None:
    ended = llmops(*arguments)
    assert ended.code == 2
    assert "Usage: llmops" in ended.err
    assert "Traceback" not in ended.err


# init


def test_init_writes_a_workspace_that_works(llmops: Command, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    ended = llmops("init", root)
    assert ended.code == 0
    assert f"wrote {root / 'serving' / 'assistant.yaml'}" in ended.out
    assert f"llmops ingest -w {root}" in ended.out
    assert (root / ".gitignore").read_text().splitlines()[0] == ".llmops/"
    assert llmops("ingest", "-w", root).code == 0
    asked = llmops("ask", "Where does state live?", "-w", root, "--json").json
    assert asked["choices"][0]["message"]["content"].startswith("State lives in .llmops/")


def test_init_twice_keeps_what_is_there(llmops: Command, tmp_path: Path) -> None:
    llmops("init", tmp_path)
    route = tmp_path / "serving" / "assistant.yaml"
    route.write_text("mine")
    (tmp_path / "docs" / "welcome.md").unlink()
    ended = llmops("init", tmp_path)
    assert ended.code == 0
    assert f"kept  {route}" in ended.out
    assert f"wrote {tmp_path / 'docs' / 'welcome.md'}" in ended.out
    assert route.read_text() == "mine"


def test_init_where_nothing_can_be_written(llmops: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    llmops("init", tmp_path / "file" / "sub").refused(2, "cannot write", "choose another folder")


# A workspace that is none, or is broken

READERS = [
    tuple(line.split())
    for line in (
        *("ingest", "ingest status", "search x", "ask x", "trace list", "trace show x", "key list", "up"),
        *("prompt publish", "prompt list", "prompt show x", "prompt diff x", "prompt alias x staging 1"),
        *("guard explain x", "eval run x", "eval list", "eval show x", "eval compare x y", "eval log x"),
        *("eval dataset --from-ledger", "release promote x", "release rollback x", "release status"),
        *("release sync", "lineage x", "audit list", "audit verify"),
    )
]


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_no_workspace(llmops: Command, tmp_path: Path, command: tuple[str, ...]) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        llmops(*command, "-w", root).refused(2, f"'{root}' is no llmops workspace", f"run `llmops init {root}`")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_broken_yaml(llmops: Command, fresh: Path, command: tuple[str, ...]) -> None:
    (fresh / "serving" / "assistant.yaml").write_text("name: assistant\ndescription: [\n")
    llmops(*command, "-w", fresh).refused(2, f"{fresh}/serving/assistant.yaml:")


def test_a_field_that_is_wrong_is_named_with_its_line(llmops: Command, fresh: Path) -> None:
    path = fresh / "ingestion" / "docs.yaml"
    path.write_text(path.read_text().replace("acl: [everyone]", "acls: [everyone]"))
    llmops("ingest", "-w", fresh).refused(2, f"{path}:", "acls")


def test_errors_are_json_too(llmops: Command, fresh: Path) -> None:
    ended = llmops("ask", "x", "--route", "nope", "-w", fresh, "--json")
    assert (ended.code, ended.err) == (2, "")
    assert ended.json == {"error": {"message": "no route 'nope'; there is: assistant", "type": "NotFoundError"}}


def test_a_state_folder_that_cannot_be_written(llmops: Command, fresh: Path) -> None:
    state = fresh / ".llmops"
    (state / "models").unlink()
    state.rmdir()
    state.write_text("a file in its place")
    for command in (("ingest",), ("search", "x"), ("ask", "x"), ("up", "--port", "0")):
        llmops(*command, "-w", fresh).refused(3, f"state folder '{state}' cannot be written", "make it writable")
    for command in (("key", "list"), ("trace", "list"), ("ingest", "status")):
        llmops(*command, "-w", fresh).refused(3, "cannot make the ledger")


def test_a_ledger_that_is_none(llmops: Command, fresh: Path) -> None:
    (fresh / ".llmops" / "ledger.sqlite3").write_bytes(b"not a database, certainly" * 100)
    for command in (("ingest",), ("trace", "list"), ("key", "list"), ("search", "x")):
        llmops(*command, "-w", fresh).refused(3, "file is not a database", "restore the file from a backup")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("ingest", "nope"), "no pipeline 'nope' in ingestion/; there is: docs"),
        (("ingest", "status", "nope"), "no pipeline 'nope'"),
        (("search", "x", "-c", "nope"), "no pipeline 'nope'"),
        (("search", "x", "-r", "nope"), "no route 'nope'; there is: assistant"),
        (("search", "x", "--filter", "uri"), "--filter 'uri' is not FIELD=VALUE"),
        (("search", "x", "--filter", "a b=1"), "'a b' cannot be filtered by"),
        (("search", " "), "the query is empty"),
        (("search", "long " * 20_000), "at most 8000 are searched"),
        (("ask", ""), "the query is empty"),
        (("ask", "x", "-r", "nope"), "no route 'nope'"),
        (("trace", "show", "inf_none"), "no inference 'inf_none' in the ledger; `llmops trace list`"),
        (("key", "revoke", "none"), "no valid key 'none'; `llmops key list` shows them"),
        (("key", "create", "x", "--role", "king"), "no role 'king'; the roles are viewer, app"),
        (("key", "create", ""), "1 to 128 characters"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_a_name_that_does_not_exist(llmops: Command, ready: Path, command: tuple[str, ...], said: str) -> None:
    llmops(*command, "-w", ready).refused(2, said)


@pytest.mark.parametrize("command", [("search", "x"), ("ask", "x")], ids=" ".join)
def test_nothing_ingested_yet(llmops: Command, fresh: Path, command: tuple[str, ...]) -> None:
    llmops(*command, "-w", fresh).refused(2, "no collection 'docs'", "run `llmops ingest run docs`")


def test_text_that_is_not_utf_8(llmops: Command, ready: Path) -> None:
    """A terminal in another encoding: Python hands such bytes on as half a surrogate pair."""
    odd = b"Biblioth\xe8que opening hours".decode("utf-8", "surrogateescape")
    assert llmops("search", odd, "-w", ready).code == 0
    assert llmops("ask", odd, "-w", ready).code == 0


# ingest


def test_ingest_tells_what_became_of_the_documents(llmops: Command, fresh: Path) -> None:
    (fresh / "docs" / "picture.bin").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    first = llmops("ingest", "-w", fresh, "--json")
    assert first.code == 0
    (report,) = first.json
    assert (report["name"], report["n_found"], report["n_indexed"], report["n_skipped"]) == ("docs", 2, 1, 1)
    assert report["is_complete"] is True
    second = llmops("ingest", "run", "docs", "-w", fresh)
    assert "2 documents found: 1 unchanged, 1 skipped" in second.out
    assert "0 chunks embedded" in second.out
    status = llmops("ingest", "status", "-w", fresh, "--json").json
    assert {d["uri"]: d["state"] for d in status[0]["documents"]} == {
        "library.md": "indexed",
        "picture.bin": "skipped",
    }


def test_a_pipeline_may_be_named_by_its_file(llmops: Command, ready: Path) -> None:
    for name in ("docs", "ingestion/docs.yaml", str(ready / "ingestion" / "docs.yaml")):
        assert llmops("ingest", name, "-w", ready).code == 0


def test_a_document_that_cannot_be_read_ends_in_exit_3_and_a_row(llmops: Command, fresh: Path) -> None:
    (fresh / "docs" / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing of the kind")
    (fresh / "docs" / "gone.md").symlink_to(fresh / "docs" / "nowhere.md")
    ended = llmops("ingest", "-w", fresh)
    assert ended.code == 3
    assert "failed: broken.pdf: " in ended.out
    assert "Traceback" not in ended.out + ended.err
    status = llmops("ingest", "status", "-w", fresh)
    assert status.code == 0
    assert "failed" in status.out
    with sqlite3.connect(fresh / ".llmops" / "ledger.sqlite3") as ledger:
        rows = dict(ledger.execute("SELECT uri, state FROM documents"))
    ledger.close()
    assert (rows["broken.pdf"], rows["library.md"]) == ("failed", "indexed")
    assert llmops("search", "opening hours", "-w", fresh).code == 0


def test_a_source_folder_that_is_missing(llmops: Command, fresh: Path) -> None:
    (fresh / "docs").rename(fresh / "elsewhere")
    llmops("ingest", "-w", fresh).refused(2, "ingestion/docs.yaml", "source.path", "mend the path")


def test_a_source_that_became_empty_removes_nothing(llmops: Command, fresh: Path) -> None:
    llmops("ingest", "-w", fresh)
    (fresh / "docs" / "library.md").unlink()
    llmops("ingest", "-w", fresh).refused(2, "is empty but the collection holds 1 documents", "--allow-empty")
    assert "1 removed" in llmops("ingest", "-w", fresh, "--allow-empty").out


def test_status_before_anything_was_ingested(llmops: Command, fresh: Path) -> None:
    assert "run `llmops ingest run docs`" in llmops("ingest", "status", "-w", fresh).out


# search and ask


def test_search_prints_passages_and_places(llmops: Command, ready: Path) -> None:
    ended = llmops("search", "What does a late book cost?", "-w", ready)
    assert ended.code == 0
    assert ended.out.startswith("1. Library handbook > Fees  (library.md, line ")
    assert "twenty cents" in ended.out
    found = llmops("search", "late book", "-k", "1", "-w", ready, "--json").json
    assert found["collection"] == "docs"
    assert [hit["rank"] for hit in found["hits"]] == [1]


def test_search_filters(llmops: Command, ready: Path) -> None:
    hits = llmops("search", "late book", "--filter", "uri=library.md", "-w", ready, "--json").json["hits"]
    assert hits
    ended = llmops("search", "late book", "--filter", 'uri=["other.md"]', "-w", ready)
    assert (ended.code, ended.out) == (0, "nothing in 'docs' that you may read fits this query\n")


def test_ask_prints_an_answer_its_sources_and_where_to_look(llmops: Command, ready: Path) -> None:
    ended = llmops("ask", "When does the library open?", "-w", ready)
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].startswith("The library opens at nine in the morning")
    assert "  [1] Library handbook > Opening hours (library.md, line 5)" in lines
    inference_id = lines[-1].rpartition(" ")[2]
    assert f"llmops trace show {inference_id}" in lines[-1]
    shown = llmops("trace", "show", inference_id, "-w", ready)
    for station in ("embed", "search", "pack", "render", "generate", "cite"):
        assert f"\n{station}  at " in shown.out


def test_a_principal_opens_what_is_not_for_everyone(llmops: Command, fresh: Path) -> None:
    path = fresh / "ingestion" / "docs.yaml"
    path.write_text(path.read_text().replace("acl: [everyone]", "acl: [team-a]"))
    assert llmops("ingest", "-w", fresh).code == 0
    asked = ("ask", "When does the library open?", "-w", fresh, "--json")
    assert llmops(*asked).json["citations"] == []
    assert llmops(*asked, "--principal", "team-b").json["citations"] == []
    assert llmops(*asked, "--principal", "team-b", "--principal", "team-a").json["citations"]


def test_ask_needs_a_route_when_there_are_two(llmops: Command, fresh: Path) -> None:
    route = (fresh / "serving" / "assistant.yaml").read_text()
    (fresh / "serving" / "second.yaml").write_text(route.replace("name: assistant", "name: second"))
    llmops("ask", "x", "-w", fresh).refused(2, "name a route with --route: there is assistant, second")


# trace


def test_traces_are_listed_newest_first(llmops: Command, ready: Path) -> None:
    ids = [llmops("ask", q, "-w", ready, "--json").json["inference_id"] for q in ("One?", "Two?")]
    listed = llmops("trace", "list", "-n", "2", "-w", ready, "--json").json
    assert [trace["inference_id"] for trace in listed] == ids[::-1]
    assert {trace["status"] for trace in listed} == {"ok"}
    lines = llmops("trace", "list", "-n", "2", "-r", "assistant", "-w", ready).out.splitlines()
    assert [line.split()[2] for line in lines] == ids[::-1]
    assert llmops("trace", "list", "-r", "other", "-w", ready).out == ""


def test_a_trace_can_be_printed_as_json(llmops: Command, ready: Path) -> None:
    asked = llmops("ask", "When does the library open?", "-w", ready, "--json").json
    trace = llmops("trace", "show", asked["inference_id"], "-w", ready, "--json").json
    generated = next(span["output"] for span in trace["spans"] if span["station"] == "generate")
    assert generated["text"] == asked["choices"][0]["message"]["content"]
    assert trace["feedback"] == []


# key


def test_a_key_is_shown_once_listed_and_revoked(llmops: Command, fresh: Path) -> None:
    made = llmops("key", "create", "app", "--role", "viewer", "--principal", "team-a", "-w", fresh)
    secret = made.out.splitlines()[0]
    assert secret.startswith("lk-")
    other = llmops("key", "create", "chat", "-w", fresh, "--json").json
    assert (other["role"], other["key"][:3]) == ("app", "lk-")
    listed = llmops("key", "list", "-w", fresh)
    assert secret not in listed.out
    assert other["key"] not in listed.out
    keys = llmops("key", "list", "-w", fresh, "--json").json
    assert [(key["name"], key["role"], key["principals"]) for key in keys] == [
        ("app", "viewer", ["team-a"]),
        ("chat", "app", []),
    ]
    assert llmops("key", "revoke", keys[0]["key_id"], "-w", fresh).code == 0
    assert "revoked" in llmops("key", "list", "-w", fresh).out
    llmops("key", "revoke", keys[0]["key_id"], "-w", fresh).refused(2, "no valid key")
    assert secret.encode() not in (fresh / ".llmops" / "ledger.sqlite3").read_bytes()


# doctor and schema


def test_doctor_finds_a_fresh_workspace_in_order(llmops: Command, fresh: Path) -> None:
    ended = llmops("doctor", "-w", fresh)
    assert ended.code == 0
    assert "FAIL" not in ended.out
    assert "1 pipelines, 1 prompts, 1 routes" in ended.out
    assert "suite assistant   3 examples on route assistant" in ended.out
    assert not (fresh / ".llmops" / "ledger.sqlite3").exists()


def test_doctor_names_everything_that_is_wrong(llmops: Command, fresh: Path) -> None:
    (fresh / "serving" / "assistant.yaml").write_text("name: 5\n")
    (fresh / "ingestion" / "docs.yaml").write_text("name: [\n")
    ended = llmops("doctor", "-w", fresh, "--json")
    assert ended.code == 2
    failed = [check["detail"] for check in ended.json if check["status"] == "fail"]
    assert any("assistant.yaml" in detail for detail in failed)
    assert any("docs.yaml" in detail for detail in failed)


def test_doctor_asks_an_endpoint_that_is_not_there(llmops: Command, fresh: Path) -> None:
    models = "endpoints:\n  default:\n    type: openai\n    base_url: http://127.0.0.1:9/v1\n    model: m\n"
    (fresh / "serving" / "models.yaml").write_text(models)
    ended = llmops("doctor", "-w", fresh)
    assert ended.code == 2
    assert "FAIL  endpoint default" in ended.out
    assert "cannot be reached" in ended.out


def test_doctor_outside_a_workspace(llmops: Command, tmp_path: Path) -> None:
    ended = llmops("doctor", "-w", tmp_path)
    assert ended.code == 2
    assert "is no llmops workspace" in ended.out


KINDS = ("guardrails", "ingestion", "models", "prompt", "route", "suite")


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_of_each_kind(llmops: Command, kind: str) -> None:
    schema = llmops("schema", kind).json
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["properties"]


def test_all_schemas_at_once_and_into_files(llmops: Command, tmp_path: Path) -> None:
    assert set(llmops("schema").json) == set(KINDS)
    folder = tmp_path / "new" / "schemas"
    assert llmops("schema", "--write", folder).code == 0
    assert {path.name for path in folder.iterdir()} == {f"{kind}.schema.json" for kind in KINDS}
    assert json.loads((folder / "route.schema.json").read_text()) == llmops("schema", "route").json


def test_a_schema_of_no_kind(llmops: Command, tmp_path: Path) -> None:
    llmops("schema", "eval").refused(2, f"no spec kind 'eval'; the kinds are {', '.join(KINDS)}")
    (tmp_path / "file").touch()
    llmops("schema", "--write", tmp_path / "file" / "x").refused(2, "cannot write into")


def test_a_tenant_sees_its_own_documents_and_nothing_else(tmp_path: Path, models: Path, llmops: Command) -> None:
    root = write_template(tmp_path / "workspace", models)
    (root / "acme").mkdir()
    (root / "acme" / "gate.md").write_text("# Gate\n\nThe gate of the acme yard opens at five.")
    pipeline = (root / "ingestion" / "docs.yaml").read_text().replace("name: docs", "name: acme\ntenant: acme")
    (root / "ingestion" / "acme.yaml").write_text(pipeline.replace("../docs", "../acme"))
    assert llmops("ingest", "-w", root).code == 0

    def found(*options: str) -> list[str]:
        return [hit["uri"] for hit in llmops("search", "gate", *options, "-w", root, "--json").json["hits"]]

    assert found("-c", "acme") == []
    assert found("-c", "acme", "--tenant", "acme") == ["gate.md"]
    assert found("-c", "docs", "--tenant", "acme") == []
    asked = llmops(
        "ask", "When does the library open?", "--tenant", "acme", "-r", "assistant", "-w", root, "--json"
    )
    assert asked.json["citations"] == []
