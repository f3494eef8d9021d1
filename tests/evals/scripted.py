"""A chat model that answers each question from a script, and remembers how many it answered at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops.records import Delta, Message, Usage


@dataclass(kw_only=True)
class Scripted:
    """Says, or raises, what the script has for a question; every answer waits for `n_together` under way at once.

    Attributes:
        last: a question that is answered only after all others of the script.
        holds_s: how long each answer then stays under way, so that others could join it.
    """

    script: Mapping[str, str | Exception]
    n_together: int = 1
    last: str = ""
    holds_s: float = 0.0
    name: str = "scripted"
    model: str = "a-script"
    answered: list[str] = field(default_factory=list)
    n_open: int = 0
    most_open: int = 0

    async def stream(
        self,
        messages: Sequence[Message],
        parameters: Mapping[str, Any],  # noqa: ARG002 (as every model is called)
    ) -> AsyncGenerator[Delta, None]:
        question = messages[-1].content.rpartition("Question: ")[2].strip()
        self.n_open += 1
        self.most_open = max(self.most_open, self.n_open)
        try:
            while self.most_open < self.n_together or (question == self.last and not self._is_last(question)):
                await asyncio.sleep(0.001)
            await asyncio.sleep(self.holds_s)
            said = self.script[question]
            self.answered.append(question)
            if isinstance(said, Exception):
                raise said
            yield Delta(text=said)
            yield Delta(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=1))
        finally:
            self.n_open -= 1

    def _is_last(self, question: str) -> bool:
        return set(self.answered) == set(self.script) - {question}

    async def close(self) -> None:
        """Nothing is held open."""
