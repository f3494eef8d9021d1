"""llmops in processes of their own: started without our settings, watched through /proc, ended by their ids."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def environment() -> dict[str, str]:
    """This process's, without settings that would move a part of the workspace out."""
    ours = {name for name in os.environ if name.startswith("LLMOPS_") and name != "LLMOPS_THREADS"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "HF_HUB_OFFLINE": "1"}


def llmops(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from llmops.cli import main; main()", *arguments]


@contextmanager
def running(command: Sequence[str], ready: Callable[[str], str]) -> Iterator[tuple[str, int]]:
    """A process, once `ready` finds what it looks for in a line of its output; ended by its id afterwards."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            found = next((found for line in process.stdout if (found := ready(line))), "")
            if not found:
                raise SystemExit(f"{command[-1]!r} ended before it was ready")
            yield found, process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=20)
            process.kill()


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float | None:
    """Largest resident memory of a process so far; None where the system does not say, or it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
