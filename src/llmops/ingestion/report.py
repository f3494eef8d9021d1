"""What one ingestion run did: progress while it runs, an honest account at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from llmops.records import DocumentState


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run is. `uri` is the document that was finished last.

    Attributes:
        stage: "scan" compares the source with the ledger, "index" reads, embeds and writes.
        n_documents: documents this stage has to go through.
    """

    stage: Literal["scan", "index"]
    n_documents: int
    n_done: int
    n_embedded: int
    uri: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentProblem:
    """A document that is not searchable in its present form, and why."""

    uri: str
    state: DocumentState
    reason: str


@dataclass(kw_only=True, slots=True)
class IngestReport:
    """Counts of documents (found = indexed + unchanged + empty + skipped + failed) and of chunks.

    Attributes:
        n_embedded: chunks that went through the encoder in this run.
        n_reused: chunks of changed documents whose text, and so vector, stayed the same.
        n_chunks: chunks in the collection now.
        is_candidate: the collection was built beside the one that answers and waits for a release.
        problems: every document that is not searchable as it stands, old or new.
        listing_problems: parts of the source that could not be listed; nothing was removed then.
    """

    name: str
    collection: str
    n_found: int = 0
    n_unchanged: int = 0
    n_indexed: int = 0
    n_empty: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_removed: int = 0
    n_embedded: int = 0
    n_reused: int = 0
    n_chunks: int = 0
    duration_s: float = 0.0
    is_candidate: bool = False
    problems: list[DocumentProblem] = field(default_factory=list)
    listing_problems: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """False when something that should be searchable is not."""
        return not self.n_failed and not self.listing_problems

    def count(self, state: DocumentState) -> None:
        match state:
            case "indexed":
                self.n_indexed += 1
            case "empty":
                self.n_empty += 1
            case "skipped":
                self.n_skipped += 1
            case "failed":
                self.n_failed += 1
            case "pending":
                raise AssertionError("a finished document is never pending")
