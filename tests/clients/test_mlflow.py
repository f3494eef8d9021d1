"""Opening a registry: where it is, what is kept quiet, what is said when nobody answers, and who comes first."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from llmops.clients.mlflow import Registry, open_registry, opening
from llmops.errors import BusyError, ConfigurationError, LlmopsError, MissingExtraError, StorageError
from tests.clients.mlflow_store import FILE, copy_store, eval_run, open_copy, prompt

FIRST = """
import json, sys, threading

connections = []

def watch(event, arguments):
    if event == "socket.getaddrinfo":
        connections.append(str(arguments[0]))
    elif event in ("socket.connect", "socket.sendto"):
        connections.append(str(arguments[1]))

sys.addaudithook(watch)
from pathlib import Path
from llmops.clients.mlflow import open_registry
from tests.clients.mlflow_store import eval_run, prompt
loaded_early = "mlflow" in sys.modules
sys.stdin.readline()
registry = open_registry("", Path(sys.argv[1]))
version, is_new = registry.publish(prompt("answer", author=sys.argv[2]))
registry.set_alias("answer", "live", version.version)
run_id = registry.log_eval(eval_run("evals"))
registry.artifact(run_id, "report.md")
import mlflow
found = {
    "published": [version.version, version.author, is_new],
    "connections": connections,
    "threads": [one.name for one in threading.enumerate() if one is not threading.main_thread()],
    "loaded_early": loaded_early,
    "tracking_uri": mlflow.get_tracking_uri(),
    "active_run": mlflow.active_run(),
}
print(json.dumps(found))
"""


class Answer(BaseHTTPRequestHandler):
    """Gives one answer to everything."""

    status = 200
    body = b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Retry-After", "3600")
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server's host and port."""
    handler = type("OneAnswer", (Answer,), {"status": status, "body": body})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that only our settings keep quiet: under CI and pytest MLflow's telemetry is off by itself."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.fixture(scope="module", autouse=True)
def pioneers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[subprocess.Popen[str]]]]:
    """A new state, and two processes that open it first; they run while the first tests do."""
    state = tmp_path_factory.mktemp("first") / "state"
    state.mkdir()
    (state / f"{FILE}.new").write_bytes(b"what a killed process left")
    both = [python(FIRST, str(state), author) for author in ("ada", "bob")]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    yield state, both
    for process in both:
        process.kill()
        process.communicate()


def test_the_embedded_one_is_a_file_in_the_state(tmp_path: Path) -> None:
    state = tmp_path / "a b" / "ü#1"
    registry = open_copy(state)
    assert registry.place == f"sqlite:///{state / FILE}"
    run_id = registry.log_eval(eval_run("evals"))
    registry.close()
    assert list((state / "mlflow-artifacts").rglob("report.md")) == [
        state / "mlflow-artifacts" / "evals" / run_id / "artifacts" / "report.md"
    ]


def test_artifacts_land_only_in_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file = copy_store(tmp_path / "shared")
    registry = open_registry(f"sqlite:///{file}", tmp_path / "state")
    registry.log_eval(eval_run("evals"))
    registry.close()
    assert [path.name for path in (tmp_path / "state" / "mlflow-artifacts").rglob("*.md")] == ["report.md"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_closed_registry_holds_no_file(tmp_path: Path) -> None:
    registry = open_copy(tmp_path)
    registry.publish(prompt("answer"))
    assert len(open_files(tmp_path)) > 0
    registry.close()
    assert open_files(tmp_path) == []


def open_files(folder: Path) -> list[str]:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list open files")
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith(str(folder))]


def test_artifacts_are_found_after_the_workspace_has_moved(tmp_path: Path) -> None:
    registry = open_copy(tmp_path / "old")
    registry.log_eval(eval_run("evals"))  # the copied file has moved once before it was opened
    old_run = registry.log_eval(eval_run("evals"))
    registry.close()
    (tmp_path / "old").rename(tmp_path / "new place")
    registry = open_registry("", tmp_path / "new place")
    assert registry.artifact(old_run, "report.md") == "# Report\r\n– fine\n"
    new_run = registry.log_eval(eval_run("evals"))
    assert registry.artifact(new_run, "report.md") == "# Report\r\n– fine\n"
    registry.close()
    assert not (tmp_path / "old").exists()


def test_an_older_embedded_schema_is_upgraded_and_others_are_left_alone(tmp_path: Path) -> None:
    file = older(tmp_path / FILE)
    before = file.read_bytes()
    said = (
        f"the registry 'sqlite:///{file}' was written by an older MLflow; back it up, then run `mlflow db upgrade`"
    )
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        open_registry(f"sqlite:///{file}", tmp_path / "state")
    assert file.read_bytes() == before
    registry = open_registry("", tmp_path)
    assert registry.publish(prompt("answer"))[1]
    registry.close()
    assert (tmp_path / f"{FILE}.before-upgrade").read_bytes() == before


def older(file: Path) -> Path:
    """A store as an older MLflow leaves it."""
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base

    config = _get_alembic_config(f"sqlite:///{file}")  # type: ignore[no-untyped-call]  # MLflow's
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revisions[4])
    return file


def test_a_schema_that_mlflow_does_not_know_is_refused(tmp_path: Path) -> None:
    file = copy_store(tmp_path)
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(
        ConfigurationError, match=r"has a schema \('0001'\) that the installed MLflow does not know"
    ):
        open_registry("", tmp_path)


def test_what_the_user_has_set_for_mlflow_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    open_copy(tmp_path).close()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_without_mlflow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'llmops[registry]'")):
        open_registry("", tmp_path)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("./mlruns", "MLFLOW_TRACKING_URI names no registry that llmops can use; write http://HOST:5000"),
        ("ada:s3cret@host:5000", "MLFLOW_TRACKING_URI names no registry that llmops can use"),
        ("mysql://ada:s3cret@host/db", "MLFLOW_TRACKING_URI 'mysql:…' names no registry that llmops can use"),
        ("http://", "MLFLOW_TRACKING_URI is not an address"),
        ("http://ada:s3c/ret@host:5000", "MLFLOW_TRACKING_URI is not an address"),
        ("http://ada:s3cret", "MLFLOW_TRACKING_URI is not an address"),
        ("http://ada:s3#cret@host", "in a password '/', '#' and '@' are %2F, %23 and %40"),
        ("postgresql://ada:s3@cret@host/db", "MLFLOW_TRACKING_URI has more than one '@'"),
        ("postgresql://ada:s3cret@host:port/db", "MLFLOW_TRACKING_URI 'postgresql:…' is not a database URL"),
        ("sqlite://", "names no plain SQLite file"),
        ("sqlite:///:memory:", "names no plain SQLite file"),
        ("sqlite:////tmp/x.db?mode=ro", "names no plain SQLite file"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(tmp_path: Path, uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        open_registry(uri, tmp_path)
    assert_no_secret(caught.value)


def assert_no_secret(error: LlmopsError) -> None:
    """Neither in the message nor in what a log prints of it."""
    printed = "".join(traceback.format_exception(error)) + str(error)
    lines = [line for line in printed.splitlines() if not line.startswith("    ")]  # lines of code
    assert not re.search("ada|s3cret|s3c|cret", "\n".join(lines))


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_a_server_that_is_not_there_is_said_not_to_be_there(tmp_path: Path) -> None:
    port = closed_port()
    said = f"the MLflow registry at 'http://127.0.0.1:{port}/a' cannot be reached (connection refused); "
    said += "is it running, and is MLFLOW_TRACKING_URI right?"
    with pytest.raises(StorageError, match=re.escape(said)) as caught:
        open_registry(f"http://ada:s3cret@127.0.0.1:{port}/a/?token=s3cret", tmp_path)
    assert_no_secret(caught.value)


def test_a_database_that_is_not_there_is_said_not_to_be_there(tmp_path: Path) -> None:
    port = closed_port()
    said = (
        f"the MLflow registry at 'postgresql://127.0.0.1:{port}/db' cannot be reached (connection refused); is it"
    )
    with pytest.raises(StorageError, match=re.escape(said)) as caught:
        open_registry(f"postgresql://ada:s3cret@127.0.0.1:{port}/db", tmp_path)
    assert_no_secret(caught.value)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_KNOCK_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(StorageError, match=r"cannot be reached \(timed out\); is it running"):
            open_registry(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)


def test_a_server_that_has_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    with answering(200, b"OK") as server:
        registry = open_registry(f"http://ada:s3cret@{server}", tmp_path)
    assert registry.place == f"http://{server}"
    for call in (
        lambda: registry.publish(prompt("answer")),
        lambda: registry.versions("answer"),
        lambda: registry.set_alias("answer", "live", 1),
        lambda: registry.log_eval(eval_run("evals")),
        lambda: registry.artifact("f" * 32, "report.md"),
    ):
        with pytest.raises(
            StorageError, match=f"'http://{server}' cannot be reached .connection refused."
        ) as caught:
            call()
        assert_no_secret(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (200, b"<html>Welcome</html>", StorageError, "does not answer like MLflow; is MLFLOW_TRACKING_URI right?"),
        (404, b"Not found", StorageError, "does not answer like MLflow; is MLFLOW_TRACKING_URI right?"),
        (
            401,
            b"You are not ada",
            ConfigurationError,
            "does not permit this (You are not …); set MLFLOW_TRACKING_USE",
        ),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "No"}', ConfigurationError, "not permit this (No)"),
        (429, b"Slowly", BusyError, "is over its limit (status 429); try again"),
        (500, b"Oh, ada:s3cret", StorageError, "failed (status 500); see its log"),
        (503, b"Later", StorageError, "failed (status 503); see its log"),
        (418, b'{"error_code": "TEAPOT", "message": "ada: s3cret"}', StorageError, "failed (…: …); see its log"),
    ],
)
def test_what_a_server_answers_becomes_one_of_our_errors(
    tmp_path: Path, status: int, body: bytes, error: type[LlmopsError], said: str
) -> None:
    with answering(status, body) as server:
        registry = open_registry(f"http://ada:s3cret@{server}", tmp_path)
        for call in (lambda: registry.versions("answer"), lambda: registry.artifact("f" * 32, "report.md")):
            with pytest.raises(error, match=re.escape(said)) as caught:
                call()
            assert_no_secret(caught.value)


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database " * 100)
    with pytest.raises(StorageError, match=r"failed \(file is not a database\); restore the file from a backup"):
        open_registry("", tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    said = f"'{tmp_path / 'file' / 'state'}' cannot be used (Not a directory): check the disk"
    with pytest.raises(StorageError, match=re.escape(said)):
        open_registry("", tmp_path / "file" / "state")


def test_a_path_that_no_database_may_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a database's path has no '%' or '\\?'; move it"):
        open_registry("", tmp_path / "what?")


def test_one_registry_may_be_opened_twice(tmp_path: Path) -> None:
    first: Registry = open_copy(tmp_path)
    second = open_registry("", tmp_path)
    first.publish(prompt("answer"))
    first.close()
    assert [one.version for one in second.versions("answer")] == [1]
    second.close()


def test_two_processes_may_come_first_and_nothing_is_said_asked_or_left_running(
    pioneers: tuple[Path, list[subprocess.Popen[str]]],
) -> None:
    state, both = pioneers
    results = [process.communicate(timeout=100) for process in both]
    assert [complained for _, complained in results] == ["", ""]
    assert [said.count("\n") for said, _ in results] == [1, 1]
    found = [json.loads(said) for said, _ in results]
    versions, authors, is_new = zip(*(one["published"] for one in found), strict=True)
    assert sorted(is_new) == [False, True]
    assert len(set(versions)) == len(set(authors)) == 1
    for one in found:
        assert one["connections"] == []
        assert one["threads"] == []
        assert one["loaded_early"] is False
        assert str(state) not in one["tracking_uri"]
        assert one["active_run"] is None
    registry = open_registry("", state)
    assert [(one.version, one.author) for one in registry.versions("answer")] == [(versions[0], authors[0])]
    assert len(registry.find_runs("evals", {})) == 2
    registry.close()
    assert {path.name for path in state.iterdir()} == {FILE, f"{FILE}.lock", "mlflow-artifacts"}
