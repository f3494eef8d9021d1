"""A suite's report on the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

_MARKS = {"pass": "pass", "fail": "FAIL", "inconclusive": "open"}
_SHOWN_CHANGES = 5
_SHOWN_FAILURES = 200


def print_suite(done: dict[str, Any]) -> None:
    """Values with their intervals, the gate rule by rule, and the outcome."""
    report = done["report"]
    print(f"suite {report['suite']}: {len(report['results'])} questions in {report['duration_s']:.1f} s")
    for line in done["described"]:
        print(f"  {line}")
    print()
    _print_table(_table(report["slices"]))
    print("\nGate" if report["checks"] else "\nNo gate: the suite reports and decides nothing")
    width = max((len(check["rule"]) for check in report["checks"]), default=0)
    for check in report["checks"]:
        print(f"  {_MARKS[check['outcome']]}  {check['rule']:{width}}  {check['reason']}")
    if report["n_errors"]:
        print(
            f"\n{report['n_errors']} questions could not be answered or scored; the first: {_first_error(report)}"
        )
    logged = f", MLflow run {done['run_id']}" if done["run_id"] else ", not in MLflow"
    outcome = report["outcome"].upper() if report["checks"] else "MEASURED"
    print(f"\n{outcome}: verdict {report['report_id'][:12]}{logged}")


def print_comparison(comparison: dict[str, Any], *, shown: int = _SHOWN_CHANGES) -> None:
    """Each metric before and after, and answers that changed."""
    contents = ", ".join(comparison["contents_changed"]) or "nothing that was measured"
    print(f"\nCompared with {comparison['before_id'][:12]}; changed: {contents}")
    rows = [["metric", "before", "after", "difference"]]
    for change in comparison["changes"]:
        difference = change["difference"]
        if difference:
            said = f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
        else:
            said = f"{change['after'] - change['before']:+.3f}"
        rows.append([change["metric"], f"{change['before']:.3f}", f"{change['after']:.3f}", said])
    _print_table(rows)
    changed = comparison["changed"]
    noun = "answer" if len(changed) == 1 else "answers"
    print(f"\n{len(changed)} {noun} changed{', of those that are not held out:' if changed else ''}")
    changed = [change for change in changed if change[0] not in comparison["held_out"]]
    width = min(shutil.get_terminal_size().columns, 110)
    for example_id, question, before, after in changed[:shown]:
        print(f"  {example_id}: {question}")
        for mark, text in (("-", before), ("+", after)):
            print(textwrap.indent(textwrap.shorten(text, 2 * width, placeholder=" …"), f"    {mark} "))
    if len(changed) > shown:
        print(f"  … and {len(changed) - shown} more; `llmops eval compare` shows all")


def print_failures(report: dict[str, Any], *, with_held_out: bool = False) -> None:
    """Answers that are not right: nothing of the reference, or answered or not against the labels.

    What is held out is not shown unless it is asked for: whoever reads it tunes on it.
    """
    print("\nAnswers that went wrong")
    n = 0
    shown = [result for result in report["results"] if with_held_out or result["part"] != "held-out"]
    for result in shown:
        why = _wrong(result)
        if not why or n >= _SHOWN_FAILURES:
            continue
        n += 1
        print(f"  {result['id']} ({result['part']}): {why}\n    asked {result['example']['question']}")
        print(f"    said  {textwrap.shorten(result['text'], 200, placeholder=' …')}")
        if result["example"]["answers"]:
            print(f"    right {result['example']['answers'][0]}  ({', '.join(result['example']['sources'])})")
    if not n:
        print("  none")
    if len(shown) < len(report["results"]):
        print(f"  ({len(report['results']) - len(shown)} held-out questions are left out)")


def _wrong(result: dict[str, Any]) -> str:
    if result["error"]:
        return str(result["error"])
    answerable = bool(result["example"]["answers"])
    if result["abstains"] and answerable:
        return "did not answer"
    if not result["abstains"] and not answerable:
        return "answered what the documents do not say"
    for metric in ("token_recall", "citation_precision"):
        reading = result["readings"].get(metric)
        if reading is not None and reading[0] < 0.5:
            return f"{metric} {reading[0]:.2f}"
    return ""


def _first_error(report: dict[str, Any]) -> str:
    for result in report["results"]:
        if result["error"]:
            return f"{result['id']}: {result['error']}"
        for metric, error in result["errors"].items():
            return f"{result['id']}: {metric}: {error}"
    return ""


def _table(slices: Sequence[dict[str, Any]]) -> list[list[str]]:
    names = [" ".join(name for name in (part["part"], part["tag"]) if name) or "all" for part in slices]
    rows = [["metric", *(f"{name} ({part['n']})" for name, part in zip(names, slices, strict=True))]]
    metrics = dict.fromkeys(value["metric"] for part in slices for value in part["values"])
    for metric in metrics:
        cells = []
        for part in slices:
            value = next((value for value in part["values"] if value["metric"] == metric), None)
            cells.append(_cell(value) if value else "-")
        rows.append([metric, *cells])
    return rows


def _cell(value: dict[str, Any]) -> str:
    digits = 1 if value["metric"].endswith("_ms") else 3
    said = f"{value['value']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
    return f"{said} {value['n_errors']} failed" if value["n_errors"] else said


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
