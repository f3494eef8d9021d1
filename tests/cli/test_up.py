"""`llmops up` as a process: what it prints, who may speak to it, what it does for other commands, how it ends."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmops.cli.app import run
from tests.cli.conftest import Command
from tests.gateway.running import eventually
from tests.gateway.upstream import event, hang, open_upstream, piece, streaming
from tests.gateway.workspaces import write_template, write_workspace

LLMOPS = (sys.executable, "-W", "error::ResourceWarning", "-c", "from llmops.cli import main; main()")
QUESTION = "When does the library open?"


@dataclass(frozen=True, kw_only=True)
class Up:
    """A running `llmops up`, with what it has printed."""

    process: subprocess.Popen[str]
    greeting: str
    url: str

    def end(self, number: int) -> tuple[int, str, str]:
        """Send a signal and wait: exit code, what it printed last, and standard error."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out.strip(), err


@contextmanager
def up(root: Path, *options: str) -> Iterator[Up]:
    command = [*LLMOPS, "up", "-w", str(root), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        greeting = read_greeting(process, "url" if "--json" in options else "Ctrl-C stops it.")
        url = re.search(r"http://[^\s\"/]+", greeting)
        assert url is not None
        yield Up(process=process, greeting=greeting, url=url[0])
    finally:
        process.kill()
        process.communicate(timeout=30)


def read_greeting(process: subprocess.Popen[str], last: str) -> str:
    assert process.stdout is not None
    text, until, file = "", time.monotonic() + 60, process.stdout.fileno()
    while last not in text:
        assert select.select([file], [], [], max(0, until - time.monotonic()))[0], text
        part = os.read(file, 65_536).decode()
        assert part, process.communicate()[1]
        text += part
    return text


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    path = write_template(tmp_path_factory.mktemp("up") / "workspace", models)
    second = (path / "serving" / "assistant.yaml").read_text().replace("name: assistant", "name: second")
    (path / "serving" / "second.yaml").write_text(second)
    assert run(["ingest", "-w", str(path)]) == 0
    return path


# What commands print while a gateway owns the workspace: the same as without.

SAME: dict[str, tuple[str, ...]] = {
    "search": ("search", "late book"),
    "search as JSON": ("search", "late book", "-k", "2", "--filter", "uri=library.md", "--json"),
    "search nothing": ("search", "late book", "--filter", "uri=nowhere.md"),
    "search as a route": ("search", "late book", "--route", "second", "--json"),
    "search an unknown collection": ("search", "x", "-c", "nope"),
    "search an unknown collection as JSON": ("search", "x", "-c", "nope", "--json"),
    "search a bad filter": ("search", "x", "--filter", "a b=1"),
    "search far too much": ("search", "long " * 3_000),
    "ask": ("ask", QUESTION, "-r", "assistant"),
    "ask as JSON": ("ask", QUESTION, "-r", "assistant", "--json"),
    "ask as somebody": ("ask", QUESTION, "-r", "second", "--principal", "team-a", "--json"),
    "ask without an answer": ("ask", "Who wrote the Odyssey?", "-r", "assistant", "--json"),
    "ask nothing": ("ask", "", "-r", "assistant"),
    "ask nobody": ("ask", "x", "-r", "nope"),
    "ask without a route": ("ask", "x"),
    "ingest": ("ingest",),
    "ingest as JSON": ("ingest", "docs", "--json"),
    "ingest anew": ("ingest", "docs", "--rebuild", "--json"),
    "ingest what there is not": ("ingest", "nope"),
    "status": ("ingest", "status"),
}
CHANGING = re.compile(
    r"inf_[0-9a-f]{32}|(?<=\"sync_id\": \")[0-9a-f]{32}|chatcmpl-\S+?(?=\")|\d+\.\d+ s\b"
    r"|\"(?:duration_s|created)\": [\d.e-]+|docs-\d+"
)


def results(llmops: Command, root: Path) -> dict[str, Any]:
    """What each command printed and how it ended, without ids and times."""
    found = {}
    for name, command in SAME.items():
        ended = llmops(*command, "-w", root)
        out: Any = CHANGING.sub("…", ended.out)
        found[name] = (ended.code, ended.err, json.loads(without_numbers(out)) if "--json" in command else out)
    return found


def without_numbers(text: str) -> str:
    """Valid JSON again, where a pair was cut out."""
    return re.sub(r"(?m)^\s*…,?\n", "", text)


def test_commands_print_the_same_whoever_owns_the_workspace(llmops: Command, root: Path) -> None:
    alone = results(llmops, root)
    assert alone["ask as JSON"][2]["citations"]
    with up(root):
        handed_over = results(llmops, root)
        traces = llmops("trace", "list", "-w", root, "--json").json
        asked = llmops("ask", QUESTION, "-r", "assistant", "-w", root, "--json").json
        shown = llmops("trace", "show", asked["inference_id"], "-w", root, "--json").json
    assert set(handed_over) == set(alone)
    for name, result in alone.items():
        assert handed_over[name] == result, name
    assert {(trace["caller"], trace["status"]) for trace in traces} >= {("owner", "ok"), ("owner", "error")}
    searched = next(span for span in shown["spans"] if span["station"] == "search")
    assert searched["input"] == {"caller": ["everyone"]}
    assert shown == llmops("trace", "show", asked["inference_id"], "-w", root, "--json").json


def test_the_greeting_can_be_pasted(root: Path) -> None:
    with up(root) as running:
        assert f"Chat page   {running.url}" in running.greeting
        assert "routes: assistant, second" in running.greeting
        curl = running.greeting[running.greeting.index("curl ") : running.greeting.index("from openai")]
        answer = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, timeout=30)
        assert json.loads(answer.stdout)["object"] == "chat.completion", answer.stderr
        snippet = running.greeting[running.greeting.index("from openai") : running.greeting.index("Ctrl-C")]
        python = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=60)
        assert python.returncode == 0, python.stderr
        assert "I don't know" in python.stdout


def test_a_second_one_is_refused_in_one_sentence(llmops: Command, root: Path) -> None:
    with up(root, "--json") as first:
        assert json.loads(first.greeting) == {"url": first.url, "routes": ["assistant", "second"]}
        card = root / ".llmops" / "owner.json"
        assert card.stat().st_mode & 0o077 == 0  # it holds the token
        said = f"the workspace '{root}' is in use by `llmops up` (process {first.process.pid})"
        llmops("up", "--port", "0", "-w", root).refused(2, said, "wait for it or stop it")
        code, out, err = first.end(signal.SIGINT)
    assert (code, out, err) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_it_with_everything_saved(llmops: Command, root: Path, number: signal.Signals) -> None:
    with up(root) as running:
        body = {"model": "assistant", "messages": [{"role": "user", "content": QUESTION}]}
        with httpx.Client(base_url=running.url, timeout=30) as http:
            ids = [http.post("/v1/chat/completions", json=body).json()["inference_id"] for _ in range(20)]
        code, out, err = running.end(number)
    assert (code, out, err) == (0, "stopped; everything is saved", "")
    listed = llmops("trace", "list", "-n", "50", "-w", root, "--json").json
    assert {trace["inference_id"] for trace in listed} >= set(ids)
    assert llmops("search", "late book", "-w", root).code == 0


@pytest.mark.slow
def test_a_signal_in_the_middle_of_answers(llmops: Command, tmp_path: Path, models: Path) -> None:
    """Callers who listen for ever do not keep the gateway from ending, and hear why they get no more."""
    with open_upstream() as upstream:
        root = write_workspace(tmp_path / "workspace", models, upstream_url=upstream.url, closed=9)
        upstream.handler = hang
        body = {"model": "forward", "messages": [{"role": "user", "content": "x"}]}
        with (
            up(root) as running,
            httpx.Client(base_url=running.url, timeout=30) as http,
            ThreadPoolExecutor() as pool,
        ):
            waiting = pool.submit(http.post, "/v1/chat/completions", json=body)
            eventually(lambda: upstream.requests, "the request did not arrive")
            upstream.handler = streaming(event(piece("It")), then=hang)
            with http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
                parts = response.iter_text()
                first = next(parts)
                code, out, err = running.end(signal.SIGTERM)
                rest = "".join(parts)
    assert (code, out) == (0, "stopped; everything is saved")
    assert "Traceback" not in err
    assert "It" in first
    assert json.loads(rest.removeprefix("data: "))["error"]["message"].startswith("the gateway is stopping")
    assert waiting.result().status_code == 503
    traces = llmops("trace", "list", "-w", root, "--json").json
    assert [trace["status"] for trace in traces] == ["cancelled", "cancelled"]


def test_a_port_in_use(llmops: Command, root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = f"port {port} on 127.0.0.1 is in use; stop what uses it or pass --port"
        llmops("up", "--port", str(port), "-w", root).refused(2, said)
    assert llmops("search", "late book", "-w", root).code == 0


def test_an_address_that_is_not_ours(llmops: Command, root: Path) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        llmops("key", "create", "x", "-w", root)
        llmops("up", "--host", host, "--port", "0", "-w", root).refused(2, f"cannot listen on {host}:0")
    for key in llmops("key", "list", "-w", root, "--json").json:
        if key["revoked_at"] is None:
            llmops("key", "revoke", key["key_id"], "-w", root)


def test_other_machines_need_a_key(llmops: Command, root: Path) -> None:
    for host in ("0.0.0.0", "::"):
        said = f"'{host}' can be reached from other machines and there is no API key"
        llmops("up", "--host", host, "--port", "0", "-w", root).refused(2, said, "llmops key create")
    made = llmops("key", "create", "app", "-w", root, "--json").json
    with up(root, "--host", "0.0.0.0") as running:
        assert running.url.startswith("http://127.0.0.1:")
        assert "Authorization: Bearer YOUR-KEY" in running.greeting
        search = {"query": "late book"}
        assert httpx.post(f"{running.url}/v1/search", json=search).status_code == 401
        headers = {"Authorization": f"Bearer {made['key']}"}
        assert httpx.post(f"{running.url}/v1/search", json=search, headers=headers).status_code == 200
        assert llmops("search", "late book", "-w", root).code == 0
        llmops("key", "revoke", made["key_id"], "-w", root)
        time.sleep(1.3)
        assert httpx.post(f"{running.url}/v1/search", json=search).status_code == 401


CUT_OFF = ("schema | head -1", "schema | true", "schema >&-", "search late -w '{}' | true")


@pytest.mark.parametrize("command", CUT_OFF)
def test_a_reader_that_has_left_is_no_error(root: Path, command: str) -> None:
    llmops = " ".join(f"'{part}'" for part in LLMOPS)
    line = f"{llmops} {command.format(root)}; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_gateway_that_dies_in_the_middle_is_named(llmops: Command, tmp_path: Path, models: Path) -> None:
    with open_upstream() as upstream:
        root = write_workspace(tmp_path / "workspace", models, upstream_url=upstream.url, closed=9)
        assert llmops("ingest", "docs", "-w", root).code == 0
        with up(root) as running:

            def kill(_: Any) -> None:
                running.process.kill()
                running.process.wait()

            upstream.handler = streaming(event(piece("It")), then=kill)
            ended = llmops("ask", QUESTION, "-r", "rag", "-w", root)
            assert ended.code in (2, 3)
            assert f"(process {running.process.pid}) does not answer" in ended.err
            assert "Traceback" not in ended.err
        # A killed owner leaves no lock behind.
        assert llmops("search", "late book", "-c", "docs", "-w", root).code == 0
