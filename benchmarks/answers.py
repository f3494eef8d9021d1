"""How well the shipped assistant answers, as it ships: SQuAD 2.0 with its unanswerable questions.

    python benchmarks/answers.py [--shared DIR] [--part dev] [--limit N] [--quick] [--json]

The whole line: every paragraph is a document of a folder, ingested into Qdrant Edge by the real pipeline, and the
questions of a part go through `run_suite` on the shipped route, with the metrics of `evals/handbook.yaml`. Prompt,
route, policy, chunking and model are the committed files'; paths differ, and guardrails are off in one column.

Nothing is tuned here. But the extractive model's coefficients were fitted on part `dev` of this very set and of
ClapNQ (`calibrate_extractive.py`), for a mix with fewer unanswerable questions; `dev-test` has other paragraphs of
the same articles. What a threshold chosen on `dev` would give on it is printed beside the shipped one.

Gold: the paragraph's document, and as evidence each sentence of it that holds an answer. A question counts as
unanswerable when its own paragraph does not answer it; nobody looked at the other paragraphs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import yaml

from llmops.clients.embeddings.text_vectors import VectorCache
from llmops.clients.extractive.coefficients import THRESHOLD
from llmops.clients.extractive.context import read_context
from llmops.clients.extractive.reading import read
from llmops.clients.protocols import ChatModel, Embedder
from llmops.datasets import write_examples
from llmops.evals.report import ExampleResult, SuiteReport
from llmops.guardrails.guard import Guard
from llmops.guardrails.spec import GuardrailsSpec
from llmops.ingestion.run import Options
from llmops.metrics import abstention_f1, abstention_precision, abstention_recall, bootstrap_interval, token_f1
from llmops.prompts import Prompt, load_prompt, parse_prompt
from llmops.records import EVERYONE, Delta, Example, GuardResult, GuardStage, Message, MetricValue, Usage
from llmops.settings import Settings
from llmops.tokens import sentence_spans
from llmops.workspace.evaluation import Target, prepare
from llmops.workspace.opened import Workspace
from report import conditions, percentile, print_conditions, required_data, table

SET = "squad_v2"
SHIPPED = Path(__file__).resolve().parents[1]
QUICK, CHOOSING = 10, 400
"""Questions a part with --quick, and questions of `dev` that choose the threshold."""
THRESHOLDS = np.arange(0.05, 0.951, 0.05).round(2)
_USAGE = Usage(input_tokens=0, output_tokens=0)


class Said:
    """A chat model of one function of the messages, in the extractive model's place."""

    model = "benchmark"

    def __init__(self, name: str, say: Callable[[Sequence[Message], Mapping[str, Any]], str]) -> None:
        self.name, self._say = name, say

    async def stream(
        self, messages: Sequence[Message], parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Delta, None]:
        yield Delta(text=self._say(messages, parameters), finish_reason="stop", usage=_USAGE)

    async def close(self) -> None:
        """Nothing is open."""


def unknown(_: Embedder) -> ChatModel:
    return Said("unknown", lambda _messages, parameters: str(parameters["unknown_answer"]))


def first_sentence(_: Embedder) -> ChatModel:
    """Never abstains: the first sentence of the best passage."""

    def say(messages: Sequence[Message], parameters: Mapping[str, Any]) -> str:
        passages = read_context(messages).passages
        if not passages:
            return str(parameters["unknown_answer"])
        start, end = sentence_spans(passages[0].text)[0]
        return f"{passages[0].text[start:end]} [{passages[0].number}]"

    return Said("first-sentence", say)


def probability(embedder: Embedder) -> ChatModel:
    """Says P(answerable) instead of the answer: the extractive model abstains below its threshold."""
    vectors = VectorCache(embedder)

    def say(messages: Sequence[Message], _: Mapping[str, Any]) -> str:
        reading = read(read_context(messages), vectors)
        return f"{reading.probability if reading else 0.0:.9f}"

    return Said("probability", say)


class TalliedGuard(Guard):
    """A policy that keeps what it said of each text, and how long it took when it read it first."""

    def __init__(self, spec: GuardrailsSpec) -> None:
        super().__init__(spec)
        self.results: dict[GuardStage, dict[str, GuardResult]] = {"input": {}, "context": {}, "output": {}}
        self.cpu_ms: dict[GuardStage, list[float]] = {stage: [] for stage in self.results}

    def check(self, stage: GuardStage, text: str, *, where: str = "") -> GuardResult:
        began = time.thread_time()
        result = super().check(stage, text, where=where)
        if text not in self.results[stage]:
            self.cpu_ms[stage].append((time.thread_time() - began) * 1000)
            self.results[stage][text] = result
        return result

    def tally(self) -> list[dict[str, Any]]:
        """Distinct texts of each stage by the strongest action, and what was found in them."""
        rows = []
        for stage, results in self.results.items():
            actions = Counter(result.action for result in results.values())
            kinds = Counter(f.kind for result in results.values() for f in result.findings)
            counts = {action: actions[action] for action in ("flag", "redact", "block")}
            cpu_ms = percentile(self.cpu_ms[stage], 0.5) if results else 0.0
            rows.append({"stage": stage, "n": len(results), **counts, "cpu_p50_ms": cpu_ms, "kinds": kinds})
        return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """The shipped assistant, and what is changed of it.

    Attributes:
        threshold: the prompt's parameter; None leaves the prompt as it is.
        model: what answers in the extractive model's place.
    """

    name: str
    is_guarded: bool = True
    threshold: float | None = None
    model: Callable[[Embedder], ChatModel] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a system did; `guard` says what the policy found, and is empty without one."""

    system: System
    report: SuiteReport
    guard: list[dict[str, Any]]

    @property
    def values(self) -> dict[str, MetricValue]:
        return {value.metric: value for value in self.report.slices[0].values}


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def write_workspace(root: Path, data: Path, *, limit: int | None) -> dict[str, list[Example]]:
    """The shipped files over the paragraphs, and a suite for each part; the examples that were chosen."""
    texts = {row["paragraph_id"]: row["text"] for row in rows_of(data / SET / "paragraphs.jsonl.gz")}
    for folder in ("documents", "ingestion", "prompts", "serving", "guardrails", "evals"):
        (root / folder).mkdir()
    for paragraph, text in texts.items():
        (root / "documents" / uri_of(paragraph)).write_text(text, encoding="utf-8")
    for path in ("serving/models.yaml", "guardrails/default.yaml", "prompts/answer.prompt.md"):
        lines = (SHIPPED / path).read_text("utf-8").splitlines(keepends=True)
        if path.startswith("prompts/"):  # its threshold is the handbook's; here the model's own counts
            lines = [line for line in lines if not line.startswith("  threshold:")]
        (root / path).write_text("".join(lines), encoding="utf-8")
    source = {"type": "folder", "path": "../documents", "acl": [EVERYONE]}
    _copy_spec(root, "ingestion/handbook.yaml", f"ingestion/{SET}.yaml", name=SET, source=source)
    chosen = {}
    for part, most in (("dev", min(limit or CHOOSING, CHOOSING)), ("dev-test", limit)):
        chosen[part] = examples(data, part, texts, most)
        write_examples(root / "evals" / f"{part}.jsonl", chosen[part])
        changed = {"name": part, "datasets": [f"{part}.jsonl"], "held_out": 0.0, "gate": [], "concurrency": 1}
        _copy_spec(root, "evals/handbook.yaml", f"evals/{part}.yaml", **changed)
    retrieval = yaml.safe_load((SHIPPED / "serving/assistant.yaml").read_text("utf-8"))["retrieval"]
    route = {"prompt": "../prompts/answer.prompt.md", "retrieval": {**retrieval, "collection": SET}}
    _copy_spec(root, "serving/assistant.yaml", "serving/assistant.yaml", **route)
    return chosen


def _copy_spec(root: Path, shipped: str, to: str, **changed: Any) -> None:
    spec = yaml.safe_load((SHIPPED / shipped).read_text("utf-8"))
    (root / to).write_text(json.dumps({**spec, **changed}), encoding="utf-8")  # JSON is YAML


def uri_of(paragraph: str) -> str:
    return f"{paragraph.replace('#', ' ')}.txt"


def examples(data: Path, part: str, texts: Mapping[str, str], limit: int | None) -> list[Example]:
    """The questions of a part with their gold, or `limit` of them drawn with seed 0."""
    rows = [row for row in rows_of(data / SET / "questions.jsonl.gz") if row["part"] == part]
    if limit is not None and limit < len(rows):
        rows = random.Random(0).sample(rows, limit)
    return [_example(row, texts[row["paragraph_id"]]) for row in rows]


def _example(row: Mapping[str, Any], text: str) -> Example:
    quotes = [_sentence(text, a["start"], a["start"] + len(a["text"])) for a in row["answers"]]
    return Example(
        example_id=row["id"],
        question=row["question"].strip(),
        answers=tuple(dict.fromkeys(answer["text"] for answer in row["answers"])),
        sources=(uri_of(row["paragraph_id"]),) if row["answers"] else (),
        evidence=tuple(dict.fromkeys(quotes)),
    )


def _sentence(text: str, start: int, end: int) -> str:
    """The sentence that holds an answer, or the sentences that it runs through."""
    held = [span for span in sentence_spans(text) if span[0] < end and start < span[1]]
    return text[held[0][0] : held[-1][1]]


def opened(root: Path) -> closing[Workspace]:
    """With models and caches of its own, so that no system finds the sentences of another one embedded."""
    return closing(Workspace(root, Settings(), command="benchmark"))


def measure(workspace: Workspace, system: System, part: str) -> Measured:
    prepared = prepare(workspace, part, Target())
    route = prepared.route
    guard = TalliedGuard(route.guard.spec) if route.guard and system.is_guarded else None
    embedder = workspace.embedder(workspace.pipeline(SET).encoder)
    model = system.model(embedder) if system.model else route.model
    prompt = with_threshold(route.prompt, system.threshold) if route.prompt else None
    measured = replace(prepared, route=replace(route, guard=guard, model=model, prompt=prompt))
    report = anyio.run(measured.run)
    return Measured(system=system, report=report, guard=guard.tally() if guard else [])


def with_threshold(prompt: Prompt, threshold: float | None) -> Prompt:
    if threshold is None:
        return prompt
    before, parameters, after = prompt.text.partition("\nparameters:\n")
    return parse_prompt(f"{before}{parameters}  threshold: {threshold}\n{after}", prompt.spec.file)


def auroc(results: Sequence[ExampleResult]) -> float:
    """How well P(answerable) ranks what is answerable before what is not, which no threshold changes."""
    answerable, rest = (
        np.array([float(r.text) for r in results if r.example.is_answerable is side]) for side in (True, False)
    )
    above = answerable[:, None] - rest[None, :]
    return float((above > 0).mean() + (above == 0).mean() / 2) if above.size else 0.5


def threshold_curve(results: Sequence[ExampleResult]) -> list[dict[str, float]]:
    """What each threshold gives, from results whose text is P(answerable)."""
    answerable = np.array([float(result.text) for result in results])
    no_answer = np.array([not result.example.is_answerable for result in results])
    return [
        {
            "threshold": threshold,
            "precision": abstention_precision(silent, no_answer),
            "recall": abstention_recall(silent, no_answer),
            "f1": abstention_f1(silent, no_answer),
            "answerable_refused": float(silent[~no_answer].mean()) if (~no_answer).any() else 0.0,
        }
        for threshold in THRESHOLDS.tolist()
        for silent in [answerable < threshold]
    ]


def gold_sentence_f1(chosen: Sequence[Example]) -> str:
    """What token_f1 gives whoever quotes exactly the gold sentence."""
    values = [max(token_f1(quote, e.answers) for quote in e.evidence) for e in chosen if e.evidence]
    return str(bootstrap_interval(values)) if values else "-"


def changed_answers(before: SuiteReport, after: SuiteReport) -> int:
    pairs = zip(before.results, after.results, strict=True)
    return sum((a.text, a.cited, a.abstains) != (b.text, b.cited, b.abstains) for a, b in pairs)


def findings(root: Path, data: Path, *, part: str, limit: int | None) -> dict[str, Any]:
    """Everything that is printed, of one part."""
    chosen = write_workspace(root, data, limit=limit)
    with opened(root) as workspace:
        ingested = workspace.ingest(workspace.pipeline(SET), options=Options())
        says = System(name="P(answerable)", is_guarded=False, model=probability)
        plain = measure(workspace, says, "dev").report.results
    curve = threshold_curve(plain)
    with opened(root) as workspace:
        off = measure(workspace, System(name="guardrails off", is_guarded=False), part)
    with opened(root) as workspace:
        on = measure(workspace, System(name="guardrails on, as shipped"), part)
        best: float = max(curve, key=lambda row: row["f1"])["threshold"]
        others = [measure(workspace, system, part) for system in beside(best)]
    return {
        "part": part,
        "documents": ingested.n_indexed,
        "chunks": ingested.n_chunks,
        "questions": len(chosen[part]),
        "unanswerable": sum(not example.is_answerable for example in chosen[part]),
        "systems": [off, on, *others],
        "changed_answers": changed_answers(off.report, on.report),
        "guard": on.guard,
        "curve": curve,
        "n_choosing": len(plain),
        "auroc": auroc(plain),
        "gold_sentence_token_f1": gold_sentence_f1(chosen[part]),
    }


def beside(best: float) -> tuple[System, ...]:
    """What stands beside the shipped assistant: another threshold, and the floors."""
    shipped = load_prompt(SHIPPED / "prompts" / "answer.prompt.md").spec.parameters.threshold
    assert shipped is not None  # the prompt states one, chosen on the handbook's questions
    return (
        System(name=f"threshold {shipped:.2f}, the shipped prompt's", threshold=shipped),
        System(name=f"threshold {best:.2f}, best on dev", threshold=best),
        System(name="threshold 0: never abstains", threshold=0.0),
        System(name="floor: always abstains", model=unknown),
        System(name="floor: first sentence of the best passage", model=first_sentence),
    )


def print_findings(found: Mapping[str, Any]) -> None:
    n = found["questions"]
    print(f"\n{SET}, part {found['part']}: {n} questions, {found['unanswerable']} of them unanswerable;")
    print(f"{found['documents']} documents in {found['chunks']} chunks; one question at a time\n")
    off, on = found["systems"][:2]
    lines = [(name, str(value.n), _value(off, name), _value(on, name)) for name, value in on.values.items()]
    print(table(("metric [95 %]", "n", off.system.name, on.system.name), lines))
    print(f"\nThe policy changed {found['changed_answers']} of {n} answers. Distinct texts that it checked:")
    columns = ("stage", "n", "flag", "redact", "block", "CPU ms p50", "found")
    print(table(columns, [_tallied(row) for row in found["guard"]]))
    print(
        f"\nBeside the model's own threshold of {THRESHOLD:.2f} (best: of {found['n_choosing']} questions of dev):"
    )
    metrics = ("abstention_precision", "abstention_recall", "abstention_f1", "token_f1", "answer_included")
    rows = [(m.system.name, *(_value(m, metric) for metric in metrics)) for m in found["systems"][1:]]
    print(table(("system", *metrics), rows))
    print(f"token_f1 of the gold sentence itself: {found['gold_sentence_token_f1']}")
    print(f"\nThresholds on dev, where the AUROC of P(answerable) is {found['auroc']:.3f}:")
    keys = ("threshold", "precision", "recall", "f1", "answerable_refused")
    print(table(keys, [tuple(f"{row[key]:.2f}" for key in keys) for row in found["curve"][1::2]]))
    if failed := {m.system.name: m.report.n_errors for m in found["systems"] if m.report.n_errors}:
        print(f"\nFAILED questions: {failed}")


def _value(measured: Measured, metric: str) -> str:
    value = measured.values.get(metric)
    digits = 1 if metric.endswith("_ms") else 3
    return f"{value.value:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]" if value else "-"


def _tallied(row: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(row[column]) for column in ("n", "flag", "redact", "block"))
    kinds = ", ".join(f"{kind} {n}" for kind, n in row["kinds"].items()) or "nothing"
    return (row["stage"], *counts, f"{row['cpu_p50_ms']:.2f}", kinds)


def _plain(value: Any) -> Any:
    assert isinstance(value, Measured)
    values = [asdict(metric) for metric in value.values.values()]
    return {"system": value.system.name, "values": values, "n_errors": value.report.n_errors}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", help="folder that holds the folder `data` of public data")
    parser.add_argument("--part", choices=("dev", "dev-test"), default="dev-test")
    parser.add_argument("--limit", type=int, help="questions a part, drawn with seed 0")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} questions a part: not comparable")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    data = required_data(str(Path(arguments.shared) / "data") if arguments.shared else None, SET)
    found_conditions = conditions(data)
    with tempfile.TemporaryDirectory() as folder:
        limit = QUICK if arguments.quick else arguments.limit
        found = findings(Path(folder), data, part=arguments.part, limit=limit)
    if arguments.json:
        print(json.dumps({"conditions": found_conditions, **found}, default=_plain, indent=2))
        return
    print_conditions(found_conditions)
    print_findings(found)


if __name__ == "__main__":
    main()
