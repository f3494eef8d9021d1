"""From a question to feedback: messages, completions, guardrails, answers and their traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from llmops.records.documents import EVERYONE, Passage

Role = Literal["system", "user", "assistant", "tool"]
GuardStage = Literal["input", "context", "output"]
GuardAction = Literal["allow", "flag", "redact", "block"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedPrompt:
    """Messages ready for a model.

    Attributes:
        digest: SHA-256 of the prompt file's content that made them.
        parameters: model parameters (temperature, max_tokens, …), the caller's laid over the prompt's.
    """

    prompt: str
    digest: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """A piece of a streamed completion; the last one carries `finish_reason` and `usage`."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a model answered.

    Attributes:
        ttft_ms: milliseconds from the request to the first text.
        cost_usd: by the endpoint's price list; 0 where none is stated.
    """

    text: str
    model: str
    finish_reason: str
    usage: Usage
    ttft_ms: float
    duration_ms: float
    cost_usd: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardFinding:
    """What a check found in a text, and what the policy did about it. The text itself is not repeated here.

    Attributes:
        check: the check's name ("pii", "injection").
        kind: what it found: an entity such as "CREDIT_CARD", or a rule such as "override".
        start: half-open span in the text that was checked.
        score: in (0, 1]; at least the policy's threshold, or the finding would not be here.
        where: which text: "question", "history" (an earlier turn), a passage's chunk id, or "answer".
    """

    stage: GuardStage
    check: str
    kind: str
    action: GuardAction
    start: int
    end: int
    score: float
    where: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardResult:
    """A text after its checks.

    Attributes:
        action: the strongest of the findings' actions; "allow" when nothing was found.
        text: what may go on: redacted spans are replaced; "" when it is blocked.
    """

    action: GuardAction
    text: str
    findings: tuple[GuardFinding, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Citation:
    """A marker `[number]` in an answer, resolved to the passage it names."""

    number: int
    chunk_id: str
    document_id: str
    uri: str
    title: str
    locator: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the caller gets, and the inference it can give feedback on.

    Attributes:
        groundedness: share of its words that the cited passages hold, in [0, 1] (a lexical baseline);
            None when it states nothing, as "I don't know" does.
        findings: what the guardrails found on input, context and output.
        abstains: it says that it does not know, or a guardrail kept it from answering.
    """

    inference_id: str
    route: str
    text: str
    citations: tuple[Citation, ...]
    completion: Completion
    passages: tuple[Passage, ...]
    groundedness: float | None = None
    findings: tuple[GuardFinding, ...] = ()
    abstains: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks. `principals` always contains `everyone`; groups are expanded when a search is made.

    Attributes:
        tenant: only documents of this tenant are seen, whatever the principals.
    """

    name: str = "anonymous"
    role: str = "app"
    principals: tuple[str, ...] = (EVERYONE,)
    tenant: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One station of one inference: its name, its time and what went in and came out."""

    station: str
    start_ms: float
    duration_ms: float
    input: Any = None
    output: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """Everything about one inference that the ledger keeps.

    Attributes:
        status: "ok", or "error" with `error` set, or "cancelled" when the caller left.
        spec_hashes: file kind and name to the hash of every spec that shaped the answer.
        content_policy: how `spans` contents are stored: scrubbed, encrypted or none.
        findings: what the guardrails found, kept whatever the content policy says: they repeat no text.
    """

    inference_id: str
    route: str
    started_at: datetime
    status: Literal["ok", "error", "cancelled"]
    caller: str
    model: str
    prompt_digest: str
    spec_hashes: Mapping[str, str]
    usage: Usage
    cost_usd: float
    ttft_ms: float
    duration_ms: float
    content_policy: Literal["scrubbed", "encrypted", "none"]
    spans: tuple[Span, ...]
    error: str = ""
    findings: tuple[GuardFinding, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """What a person or a system says about one inference.

    Attributes:
        name: what is judged: "thumb", or a business outcome such as "resolved".
        value: True/False, a number, or a text.
        correction: the answer that would have been right, or "".
    """

    inference_id: str
    name: str
    value: bool | float | str
    comment: str = ""
    correction: str = ""
    caller: str = "anonymous"
