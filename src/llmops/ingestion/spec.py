"""What stands in an ingestion spec (`ingestion/NAME.yaml`): a source and how it becomes a collection."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from llmops.clients.embeddings.source import EncoderSource
from llmops.clients.protocols import IndexKind, Quantization, StoreSettings
from llmops.config import Name, Section, Spec
from llmops.config.cron import check_cron
from llmops.ingestion.chunking.spec import AnyChunkSpec, ChunkSpec
from llmops.ingestion.embed_spec import EmbedSpec, OnnxEmbed, encoder_source
from llmops.ingestion.governance.spec import GovernanceSpec
from llmops.ingestion.sources.spec import FolderSource, PushSource, SourceSpec

__all__ = [
    "ChunkSpec",
    "CleanSpec",
    "EmbedSpec",
    "FolderSource",
    "GateSpec",
    "GovernanceSpec",
    "IngestionSpec",
    "PushSource",
    "SyncSpec",
]


class CleanSpec(Section):
    """What is left out because it is said elsewhere; every document left out is recorded with its reason."""

    near_duplicates: float | None = Field(
        default=None, gt=0, le=1, description="Leave out documents at least this alike (Jaccard of 5-word runs)."
    )
    boilerplate: float | None = Field(
        default=None, gt=0, le=1, description="Cut blocks that stand in at least this share of the documents."
    )


class SyncSpec(Section):
    """When a pipeline runs by itself, and what it does about trouble."""

    schedule: str | None = Field(
        default=None,
        description="Cron expression (minute hour day month weekday, perhaps second) in UTC.",
    )
    max_removed_share: float = Field(
        default=0.2, ge=0, le=1, description="A sync that would remove more of the documents is held."
    )
    attempts: int = Field(default=5, ge=1, le=100, description="Failures before a document is parked.")
    backoff_s: float = Field(default=60.0, ge=0, description="Wait after the first failure; doubles each time.")
    fetchers: int | None = Field(
        default=None, ge=1, le=64, description="Documents read at the same time; default 4 over a network, else 1."
    )

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        return check_cron(value) if value is not None else None


class GateSpec(Section):
    """What a candidate has to prove before it may answer in place of what does."""

    labels: str = Field(min_length=1, description="Label file (JSONL), relative to this file.")
    max_drop: float = Field(
        default=0.01, ge=0, le=1, description="nDCG@10 may be at most this much below that of what answers."
    )
    route: Name | None = Field(
        default=None, description="Search as this route does; by default as the only route on the collection."
    )


class StoreSpec(Section):
    """How the collection is held; a change needs a rebuild. What is left out is the engine's choice."""

    shard_number: int | None = Field(default=None, ge=1, description="Parts on different machines; servers only.")
    replication_factor: int | None = Field(default=None, ge=1, description="Machines for each part; servers only.")
    write_consistency_factor: int | None = Field(default=None, ge=1, description="Replicas a write waits for.")
    on_disk_vectors: bool | None = Field(default=None, description="Read vectors from disk when asked for.")
    on_disk_payload: bool | None = Field(default=None, description="Likewise texts and metadata.")
    on_disk_words: bool | None = Field(default=None, description="Likewise the sparse index.")
    on_disk_indexes: bool | None = Field(default=None, description="Likewise the indexes of fields.")
    quantization: Quantization = Field(default="auto", description="Codes that a search reads first.")
    quantile: float = Field(default=0.99, ge=0.5, le=1, description="Share of numbers that int8 codes cover.")
    quantized_in_ram: bool = Field(default=True, description="Hold the codes in memory.")
    product_compression: Literal[4, 8, 16, 32, 64] = Field(default=16, description="Of product codes.")
    hnsw_m: int | None = Field(default=None, ge=0, le=1024, description="Edges a node; 0 builds no index.")
    hnsw_ef_construct: int | None = Field(default=None, ge=4, description="Neighbours looked at in building.")
    indexing_threshold_kb: int | None = Field(default=None, ge=0, description="Segments above it get an index.")
    index_fields: dict[str, IndexKind] = Field(default={}, description="Metadata fields that filters ask for.")

    @property
    def settings(self) -> StoreSettings:
        """The same for the vector store."""
        return StoreSettings(**self.model_dump())


class IngestionSpec(Spec):
    """One pipeline; the collection carries its name."""

    kind: ClassVar[str] = "ingestion"

    name: Name
    description: str = Field(min_length=1)
    source: SourceSpec
    tenant: str = Field(default="", max_length=128, description="Only callers of this tenant see the documents.")
    clean: CleanSpec = CleanSpec()
    governance: GovernanceSpec = GovernanceSpec()
    chunk: AnyChunkSpec = ChunkSpec()
    embed: EmbedSpec = OnnxEmbed()
    sync: SyncSpec = SyncSpec()
    store: StoreSpec = StoreSpec()
    gate: GateSpec | None = Field(default=None, description="Evidence that a release of a candidate needs.")

    @property
    def encoder(self) -> EncoderSource:
        """What turns its texts into vectors, with folders found from this file."""
        return encoder_source(self.embed, self.file)
