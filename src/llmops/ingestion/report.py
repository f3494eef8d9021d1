"""What one ingestion run did: progress while it runs, an honest account at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from llmops.records import DocumentState


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run is. `uri` is the document that was finished last.

    Attributes:
        stage: "list" asks the source, "scan" compares it with the ledger, "index" reads, embeds and writes.
        n_documents: documents this stage has to go through; 0 while nobody knows.
    """

    stage: Literal["list", "scan", "index"]
    n_documents: int
    n_done: int
    n_embedded: int
    uri: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentProblem:
    """A document that is not searchable in its present form, or only in part, and why."""

    uri: str
    state: DocumentState
    reason: str


@dataclass(kw_only=True, slots=True)
class IngestReport:
    """Counts of documents and of chunks.

    Found = indexed + unchanged + empty + skipped + failed + parked + duplicate + refused + expired.

    Attributes:
        n_permissions: documents whose readers changed and nothing else (they count as unchanged).
        n_embedded: chunks that went through the encoder in this run.
        n_reused: chunks of changed documents whose text, and so vector, stayed the same.
        n_chunks: chunks in the collection now.
        n_forgotten: documents that the source still has and that were erased here for good.
        is_candidate: the collection was built beside the one that answers and waits for a release.
        held: why nothing was removed although documents are gone; "" when nothing was held.
        problems: every document that is not searchable as it stands, old or new, or only in part.
        listing_problems: parts of the source that could not be listed; nothing was removed then.
    """

    name: str
    collection: str
    sync_id: str = ""
    n_found: int = 0
    n_unchanged: int = 0
    n_indexed: int = 0
    n_empty: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_parked: int = 0
    n_duplicate: int = 0
    n_refused: int = 0
    n_expired: int = 0
    n_removed: int = 0
    n_permissions: int = 0
    n_forgotten: int = 0
    n_embedded: int = 0
    n_reused: int = 0
    n_chunks: int = 0
    duration_s: float = 0.0
    is_candidate: bool = False
    held: str = ""
    problems: list[DocumentProblem] = field(default_factory=list)
    listing_problems: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """False when something that should be searchable is not, or something that is gone still is."""
        return not self.n_failed and not self.n_parked and not self.listing_problems and not self.held

    def count(self, state: DocumentState, n: int = 1) -> None:
        """Account for documents that ended in a state."""
        match state:
            case "indexed":
                self.n_indexed += n
            case "empty":
                self.n_empty += n
            case "skipped":
                self.n_skipped += n
            case "failed":
                self.n_failed += n
            case "parked":
                self.n_parked += n
            case "duplicate":
                self.n_duplicate += n
            case "refused":
                self.n_refused += n
            case "expired":
                self.n_expired += n
            case "pending":
                raise AssertionError("a finished document is never pending")


def report_of(stored: Mapping[str, Any]) -> IngestReport:
    """The report that `asdict` wrote."""
    values = {f.name: stored[f.name] for f in fields(IngestReport)}
    values["problems"] = [DocumentProblem(**problem) for problem in stored["problems"]]
    return IngestReport(**values)
