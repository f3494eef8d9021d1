"""The rules for prompt injections: one module a kind of attack, each a table of cues."""

from __future__ import annotations

from llmops.guardrails.rules.cue import WORD, Cue, Index, indexed
from llmops.guardrails.rules.disclosure import DISCLOSURE_CUES
from llmops.guardrails.rules.indirect import INDIRECT_CUES
from llmops.guardrails.rules.languages import LANGUAGE_CUES
from llmops.guardrails.rules.marks import MARKS
from llmops.guardrails.rules.orders import ORDER_CUES
from llmops.guardrails.rules.payloads import PAYLOAD_CUES
from llmops.guardrails.rules.personas import PERSONA_CUES
from llmops.guardrails.rules.roles import ROLE_CUES

CUES: tuple[Cue, ...] = (
    *ORDER_CUES,
    *DISCLOSURE_CUES,
    *ROLE_CUES,
    *PERSONA_CUES,
    *INDIRECT_CUES,
    *PAYLOAD_CUES,
    *LANGUAGE_CUES,
)

__all__ = ["CUES", "MARKS", "WORD", "Cue", "Index", "indexed"]
