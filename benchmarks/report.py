"""What every benchmark prints alike: versions, machine, ratios with their spread."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PACKAGES = ("numpy", "onnxruntime", "tokenizers", "qdrant-edge-py", "fastapi", "uvicorn", "uvloop", "aiohttp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Repeated measurements of one thing."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} (min {self.low:.2f}, max {self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest of at least one value."""
    return Spread(median=statistics.median(values), low=min(values), high=max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all lie (nearest rank); of at least one value."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, round(share * (len(ranked) - 1)))]


def conditions(data: Path | None = None) -> dict[str, str]:
    """Versions and machine: a figure without them says nothing."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    machine = {"machine": f"{platform.system()} {platform.machine()}, {cores} cores, load {load} at the start"}
    return {**versions, **machine, **({"data": data.name} if data is not None else {})}


def print_conditions(found: Mapping[str, str]) -> None:
    """One line for people."""
    print(", ".join(f"{name} {value}" for name, value in found.items() if name not in ("machine", "data")))
    print(found["machine"])


def shared_data(argument: str | None) -> Path | None:
    """The folder of public data: the argument, else `LLMOPS_SHARED`, else `shared` beside the repository."""
    if argument is not None:
        return Path(argument)
    beside = Path(__file__).resolve().parents[2] / "shared"
    data = Path(os.environ.get("LLMOPS_SHARED") or beside) / "data"
    return data if data.is_dir() else None


def required_data(argument: str | None, *parts: str) -> Path:
    """The data folder with these parts in it; without them there is nothing to measure, which is no failure."""
    data = shared_data(argument)
    missing = [part for part in parts if data is None or not (data / part).exists()]
    if data is None or missing:
        where = "no data folder" if data is None else f"no {', '.join(missing)} in {str(data)!r}"
        print(f"skipped: {where}; name the folder of public data, or set LLMOPS_SHARED to its parent")
        sys.exit(0)
    return data.resolve()  # a workspace elsewhere will name it


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, columns aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)
    ]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)
