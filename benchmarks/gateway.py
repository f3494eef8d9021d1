"""What the gateway adds to a model endpoint: latency and processor time, on loopback.

    python benchmarks/gateway.py [--quick] [--json]

Three processes: a mock endpoint of minimal cost (`upstream.py`), `llmops up` on a temporary workspace, and the
load client here (`load.py`). Requests go to the mock directly and through the gateway in turns, at fixed
concurrency. The gateway does all it does in production: access, routing, trace into the ledger, instruments.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import uvloop

from line import line_cpu
from load import Reply, chat_request, load
from processes import cpu_s, environment, llmops, running
from report import conditions, percentile, print_conditions, table
from upstream import N_CHUNKS

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
ROUNDS = 5
STATION = re.compile(r'^llmops_station_duration_seconds_(sum|count)\{route="(.+)",station="(.+)"\} (\S+)$', re.M)
PLAIN = "Write one sentence about workspaces."


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One kind of request.

    Attributes:
        upstream: path of the mock's API that answers the same request directly, or "" where none can.
    """

    name: str
    route: str
    upstream: str
    stream: bool
    n: int
    concurrency: int
    api_key: str = ""
    questions: Sequence[str] = (PLAIN,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """The processes under load."""

    upstream_url: str
    gateway_url: str
    gateway_pid: int


def write_workspace(root: Path, upstream_url: str) -> None:
    """The shipped assistant over the shipped handbook, and two routes that forward to the mock."""
    for folder in ("ingestion", "prompts", "serving", "guardrails"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    assistant = root / "serving" / "assistant.yaml"  # its prompt needs a release; here the file will do
    assistant.write_text(re.sub(r"(?m)^prompt: .*", "prompt: ../prompts/answer.prompt.md", assistant.read_text()))
    shutil.copytree(REPOSITORY / "docs", root / "docs")
    (root / "serving" / "models.yaml").write_text(
        "endpoints:\n  default:\n    type: extractive\n"
        f"  plain:\n    type: openai\n    base_url: {upstream_url}/v1\n    model: mock\n"
        f"  paced:\n    type: openai\n    base_url: {upstream_url}/paced/v1\n    model: mock\n"
    )
    for name in ("plain", "paced"):
        route = f"name: {name}\ndescription: Forwards to the mock endpoint.\nmodel: {name}\n"
        (root / "serving" / f"{name}.yaml").write_text(route)


def gateway_url(line: str) -> str:
    found = re.match(r"Chat page +(http\S+)", line)
    return found[1] if found else ""


def instruments(ports: Ports, api_key: str) -> str:
    request = urllib.request.Request(f"{ports.gateway_url}/metrics")
    if api_key:
        request.add_header("Authorization", f"Bearer {api_key}")
    with urllib.request.urlopen(request, timeout=10) as response:
        text: str = response.read().decode()
    return text


def stations(text: str, route: str) -> dict[str, tuple[float, float]]:
    """Seconds and count of each station of a route since the gateway began."""
    found: dict[tuple[str, str], float] = {}
    for kind, of_route, station, value in STATION.findall(text):
        if of_route == route:
            found[station, kind] = float(value)
    names = dict.fromkeys(station for station, _ in found)
    return {name: (found[name, "sum"], found[name, "count"]) for name in names}


def run(scenario: Scenario, ports: Ports, idle: float) -> dict[str, Any]:
    """Direct and through the gateway in turns; processor time includes writing the traces.

    Args:
        idle: the gateway's processor time when nobody asks, in ms a second; it is taken off.
    """
    per_round = max(1, scenario.n // ROUNDS)
    through_url, direct_url = f"{ports.gateway_url}/v1", f"{ports.upstream_url}{scenario.upstream}"
    questions = islice(cycle(scenario.questions), 2 * scenario.n)
    through: list[Reply] = []
    direct: list[Reply] = []

    def requests(base_url: str, model: str) -> list[bytes]:
        bodies = (_body(model, question, scenario.stream) for question in islice(questions, per_round))
        return [chat_request(base_url, body, scenario.api_key) for body in bodies]

    warm = [chat_request(through_url, _body(scenario.route, PLAIN, scenario.stream), scenario.api_key)] * 16
    uvloop.run(load(through_url, warm, scenario.concurrency))
    _wait_until_written(ports, scenario.api_key)
    before = stations(instruments(ports, scenario.api_key), scenario.route)
    cpu_before, started = cpu_s(ports.gateway_pid), time.perf_counter()
    for _ in range(ROUNDS):
        if scenario.upstream:
            direct += uvloop.run(load(direct_url, requests(direct_url, "mock"), scenario.concurrency))
        through += uvloop.run(load(through_url, requests(through_url, scenario.route), scenario.concurrency))
    _wait_until_written(ports, scenario.api_key)
    cpu_ms = (cpu_s(ports.gateway_pid) - cpu_before) * 1000 - idle * (time.perf_counter() - started)
    after = stations(instruments(ports, scenario.api_key), scenario.route)
    return {
        "scenario": scenario.name,
        "concurrency": scenario.concurrency,
        "n": len(through),
        "cpu_ms": cpu_ms / len(through),
        "direct_ms": _percentiles([reply.last_ms for reply in direct]),
        "through_ms": _percentiles([reply.last_ms for reply in through]),
        "direct_first_ms": _percentiles([reply.first_ms for reply in direct]),
        "through_first_ms": _percentiles([reply.first_ms for reply in through]),
        "stations_ms": _station_means(before, after),
    }


def _body(model: str, question: str, stream: bool) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": question}], "stream": stream}


def _wait_until_written(ports: Ports, api_key: str) -> None:
    for _ in range(50):
        time.sleep(0.2)
        if "\nllmops_trace_queue_depth 0.0" in instruments(ports, api_key):
            return
    raise SystemExit("the gateway did not write its traces within ten seconds")


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{round(share * 100)}": percentile(values, share) for share in (0.5, 0.95, 0.99)} if values else {}


def _station_means(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]
) -> dict[str, float]:
    means = {}
    for name, (total, count) in after.items():
        total_before, count_before = before.get(name, (0.0, 0.0))
        if count > count_before:
            means[name] = (total - total_before) * 1000 / (count - count_before)
    return means


def varied_questions(root: Path, n: int) -> list[str]:
    """Different questions that the handbook can be asked: one for each of its headings."""
    headings = [
        line.lstrip("# ").strip()
        for path in sorted((root / "docs").rglob("*.md"))
        for line in path.read_text("utf-8").splitlines()
        if line.startswith("##")
    ]
    asked = [
        f"{opening} {heading}?"
        for opening in ("What is", "How do I use", "When do I need")
        for heading in headings
    ]
    return asked[:n]


def idle_cpu_ms_per_s(ports: Ports) -> float:
    """What the gateway spends when nobody asks: it looks at the ledger every second."""
    before, started = cpu_s(ports.gateway_pid), time.perf_counter()
    time.sleep(3)
    return (cpu_s(ports.gateway_pid) - before) * 1000 / (time.perf_counter() - started)


def scenarios(questions: Sequence[str], *, quick: bool) -> list[Scenario]:
    plain, stream, paced, rag = (150, 30, 10, 20) if quick else (2_000, 300, 100, 200)
    made = []
    for concurrency in (1, 16):
        made += [
            Scenario(name="plain", route="plain", upstream="/v1", stream=False, n=plain, concurrency=concurrency),
            Scenario(
                name=f"stream of {N_CHUNKS}, at once",
                route="plain",
                upstream="/v1",
                stream=True,
                n=stream,
                concurrency=concurrency,
            ),
            Scenario(
                name=f"stream of {N_CHUNKS}, 1 ms apart",
                route="paced",
                upstream="/paced/v1",
                stream=True,
                n=paced,
                concurrency=concurrency,
            ),
        ]
    for n, concurrency in enumerate((1, 16)):
        fresh = questions[n * len(questions) // 2 :]  # not those whose passages the last scenario has read
        made += [
            Scenario(
                name=name,
                route="assistant",
                upstream="",
                stream=False,
                n=rag,
                concurrency=concurrency,
                questions=asked,
            )
            for name, asked in (("RAG, one question", questions[:1]), ("RAG, questions varied", fresh))
        ]
    return made


def with_key(root: Path, *, quick: bool) -> list[Scenario]:
    """The plain route once the gateway asks for keys."""
    made = subprocess.run(
        llmops("key", "create", "benchmark", "--json", "-w", str(root)),
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    key = json.loads(made.stdout)["key"]
    time.sleep(2)  # the gateway takes up new keys within a second
    n = 150 if quick else 2_000
    return [
        Scenario(
            name="plain, with an API key",
            route="plain",
            upstream="/v1",
            stream=False,
            n=n,
            concurrency=concurrency,
            api_key=key,
        )
        for concurrency in (1, 16)
    ]


def measure(root: Path, *, quick: bool) -> dict[str, Any]:
    with running([sys.executable, str(HERE / "upstream.py")], str.strip) as (port, _):
        upstream_url = f"http://127.0.0.1:{port}"
        write_workspace(root, upstream_url)
        ingest = llmops("ingest", "run", "handbook", "--json", "-w", str(root))
        subprocess.run(ingest, check=True, capture_output=True, env=environment())
        questions = varied_questions(root, 400)
        with running(llmops("up", "--port", "0", "-w", str(root)), gateway_url) as (url, pid):
            ports = Ports(upstream_url=upstream_url, gateway_url=url, gateway_pid=pid)
            idle = idle_cpu_ms_per_s(ports)
            results = [run(scenario, ports, idle) for scenario in scenarios(questions, quick=quick)]
            results += [run(scenario, ports, idle) for scenario in with_key(root, quick=quick)]
    return {
        "idle_cpu_ms_per_s": idle,
        "results": results,
        "line_cpu_ms": line_cpu(root, questions[: 15 if quick else 105]),
    }


def print_measured(measured: dict[str, Any]) -> None:
    print(f"\nidle gateway: {measured['idle_cpu_ms_per_s']:.1f} ms of processor time a second")
    rows = []
    for result in measured["results"]:
        direct, through = result["direct_ms"], result["through_ms"]
        added = [f"{through[p] - direct[p]:.2f}" if direct else "" for p in through]
        whole = [f"{through[p]:.2f}" for p in through]
        first = result["through_first_ms"]["p50"] - result["direct_first_ms"].get("p50", 0)
        counts = (result["scenario"], str(result["concurrency"]), str(result["n"]))
        rows.append((*counts, f"{result['cpu_ms']:.2f}", *added, f"{first:.2f}" if direct else "", *whole))
    header = (
        "request",
        "at once",
        "n",
        "CPU ms",
        "added p50 ms",
        "p95",
        "p99",
        "first byte",
        "in all p50 ms",
        "p95",
        "p99",
    )
    print(table(header, rows))
    print("\nthe RAG line by station, mean ms of wall time (/metrics):")
    for result in measured["results"]:
        if result["scenario"].startswith("RAG"):
            shown = ", ".join(f"{name} {taken:.2f}" for name, taken in result["stations_ms"].items())
            print(f"  {result['scenario']}, {result['concurrency']} at once: {shown}")
    print("\nthe RAG line by station, median ms of processor time (one varied question at a time, in process):")
    print("  " + ", ".join(f"{name} {taken:.2f}" for name, taken in measured["line_cpu_ms"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few requests: checks the code, not the figures")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        raise SystemExit("processor time is read from /proc, which this system does not have")
    found = conditions()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), quick=arguments.quick)
    if arguments.json:
        print(json.dumps({"conditions": found, **measured}, indent=2))
        return
    print_conditions(found)
    print_measured(measured)


if __name__ == "__main__":
    main()
