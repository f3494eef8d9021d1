"""The nouns of the line: one frozen record for each station.

    source → Document → Chunk → Point → Hit → Passage → RenderedPrompt → Completion → GuardResult → Answer
           → Trace → Feedback → Example → Score → Verdict → Release

Text offsets count Python characters and are half-open `[start, end)`. Times are UTC.
"""

from llmops.records.answers import (
    Answer,
    Caller,
    Citation,
    Completion,
    Delta,
    Feedback,
    GuardAction,
    GuardFinding,
    GuardResult,
    GuardStage,
    Message,
    RenderedPrompt,
    Role,
    Span,
    Trace,
    Usage,
)
from llmops.records.documents import (
    EVERYONE,
    Block,
    BlockKind,
    Chunk,
    Document,
    DocumentState,
    Hit,
    Metadata,
    Passage,
    Point,
    ScoredId,
    SparseVector,
    embedded_text,
)
from llmops.records.evidence import (
    ArtifactKind,
    Example,
    GateCheck,
    MetricValue,
    Outcome,
    Release,
    Verdict,
)

__all__ = [
    "EVERYONE",
    "Answer",
    "ArtifactKind",
    "Block",
    "BlockKind",
    "Caller",
    "Chunk",
    "Citation",
    "Completion",
    "Delta",
    "Document",
    "DocumentState",
    "Example",
    "Feedback",
    "GateCheck",
    "GuardAction",
    "GuardFinding",
    "GuardResult",
    "GuardStage",
    "Hit",
    "Message",
    "Metadata",
    "MetricValue",
    "Outcome",
    "Passage",
    "Point",
    "Release",
    "RenderedPrompt",
    "Role",
    "ScoredId",
    "Span",
    "SparseVector",
    "Trace",
    "Usage",
    "Verdict",
    "embedded_text",
]
