"""One side of a comparison, in an environment of its own: commands come as JSON lines, answers go back as such.

Only the standard library is needed here: each script beside this one imports the library it is about.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Action = Callable[[dict[str, Any]], dict[str, Any]]


def serve(actions: dict[str, Action], *, packages: Sequence[str]) -> None:
    """Answer commands until there are no more.

    A command is `{"do": NAME, ...}`; its answer is what the action returns, with the wall and processor seconds
    that the action itself measured (`timed`) and the peak memory so far. What the library prints goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    say({"ready": True, "versions": {name: importlib.metadata.version(name) for name in packages}})
    for line in sys.stdin:
        command = json.loads(line)
        done = actions[command["do"]](command)
        say({**done, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Wall and processor seconds of one piece of work, all threads together."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def read_texts(path: str) -> list[dict[str, str]]:
    """`[{"uri": …, "text": …}]`."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 -- nothing but the plainest calls
        found: list[dict[str, str]] = json.load(file)
    return found
