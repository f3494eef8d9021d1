"""Output guardrails on a stream: text leaves only after its check, and however it was cut, it leaves the same."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

from llmops.guardrails.guard import Guard, redact
from llmops.records import GuardFinding

# A sentence or line is over when the next one has begun: only then is it known that nothing more belongs to it.
# Beside a digit it may go on: "+44. 20 7946 0958" is one number, and so it may be on two lines.
_BOUNDARY = re.compile(r"(?:[.!?…]['\"”’)\]]*\s+|(?<![\d\n])\n+)(?=[^\s\d(+])")
_MARKER = re.compile(r"\[\d{1,4}\]")
_LONGEST_PIECE = 600
_HELD_BACK = 120  # no entity that the checks know is longer
_CONTEXT = 80  # characters before a piece that its checks see too: words such as "card number"


class OutputGuard:
    """Lets a model's text through sentence by sentence, as the policy says.

    Attributes:
        findings: what was found so far.
        is_blocked: a check said block: `feed` and `finish` give nothing more, and the answer ends.
        took_ms: time spent in checks.
    """

    def __init__(self, guard: Guard | None) -> None:
        self._guard = guard if guard is not None and guard.watches("output") else None
        self._holds = self._guard is not None and self._guard.changes("output")
        self._held = ""
        self._before = ""
        self.findings: list[GuardFinding] = []
        self.is_blocked = False
        self.took_ms = 0.0

    @property
    def is_active(self) -> bool:
        return self._guard is not None

    def feed(self, text: str) -> str:
        """The part of the text so far that may leave now."""
        if self._guard is None:
            return text
        if self.is_blocked:
            return ""
        self._held += text
        checked = "".join(self._pieces(self._guard))
        return checked if self._holds else text

    def finish(self) -> str:
        """What was still held back at the end."""
        if self._guard is None or not self._held:
            return ""
        rest = self._release(self._guard, len(self._held))
        return rest if self._holds else ""

    def _pieces(self, guard: Guard) -> Iterator[str]:
        """Every piece that is complete, checked; where pieces end depends on the text alone."""
        while self._held and not self.is_blocked:
            boundary = _BOUNDARY.search(self._held, 0, _LONGEST_PIECE + 1)
            if boundary is not None:
                yield self._release(guard, boundary.end())
            elif len(self._held) >= _LONGEST_PIECE + _HELD_BACK:
                # Cut for its length: checked with what follows, so that nothing hides on the cut.
                end = self._held.rfind(" ", 1, _LONGEST_PIECE) + 1 or _LONGEST_PIECE
                yield self._release(guard, end, self._held[end : end + _HELD_BACK])
            else:
                return

    def _release(self, guard: Guard, end: int, following: str = "") -> str:
        began = time.perf_counter()
        first = len(self._before)
        seen = self._before + self._held[:end] + following
        # A number with citations behind it ("+44 20 7946 0958 [1][2]") would be taken for a longer one, or none.
        unmarked = _MARKER.sub(lambda marker: ";" * len(marker[0]), seen)
        found = guard.check("output", unmarked, where="answer").findings
        last = first + end
        for finding in sorted(found, key=lambda f: f.start):  # what begins in the piece ends in it, and so on
            if first <= finding.start < last:
                last = max(last, finding.end)
        mine = [f for f in found if first < f.end and f.start < last]
        self.findings += mine
        piece = redact(
            seen[first:last], [replace(f, start=max(f.start - first, 0), end=f.end - first) for f in mine]
        )
        self._before = seen[max(0, last - _CONTEXT) : last]
        self._held = self._held[last - first :]
        if any(finding.action == "block" for finding in mine):
            self.is_blocked, self._held, piece = True, "", ""
        self.took_ms += (time.perf_counter() - began) * 1000
        return piece
