"""All tables of the ledger in one metadata, so that one migration path serves them."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A time that is always aware and always UTC (SQLite forgets the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (SQLAlchemy calls it by position)
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (SQLAlchemy calls it by position)
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class StorableText(TypeDecorator[str]):
    """Text that every database takes: PostgreSQL refuses NUL, and no driver encodes half a surrogate pair."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 (SQLAlchemy calls it by position)
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class LongText(StorableText):
    """Text without a limit."""

    impl = Text
    cache_ok = True


metadata = MetaData()

traces = Table(
    "traces",
    metadata,
    Column("inference_id", StorableText(64), primary_key=True),
    Column("route", StorableText(128), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("status", StorableText(16), nullable=False),
    Column("caller", StorableText(128), nullable=False),
    Column("model", StorableText(256), nullable=False),
    Column("prompt_digest", StorableText(64), nullable=False),
    Column("spec_hashes", JSON, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cost_usd", Float, nullable=False),
    Column("ttft_ms", Float, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("content_policy", StorableText(16), nullable=False),
    Column("spans", LargeBinary, nullable=False),
    Column("error", LongText, nullable=False),
    Column("findings", JSON, nullable=True),
    Index("traces_by_time", "started_at"),
    Index("traces_by_route", "route", "started_at"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("feedback_id", StorableText(64), primary_key=True),
    Column("inference_id", StorableText(64), nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("name", StorableText(128), nullable=False),
    Column("value", JSON, nullable=False),
    Column("comment", LongText, nullable=False),
    Column("correction", LongText, nullable=False),
    Column("caller", StorableText(128), nullable=False),
)

collections = Table(
    "collections",
    metadata,
    Column("collection", StorableText(128), primary_key=True),
    Column("name", StorableText(128), nullable=False, index=True),
    Column("state", StorableText(16), nullable=False),
    Column("embedder", StorableText(256), nullable=False),
    Column("embedder_digest", StorableText(64), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("chunker", JSON, nullable=False),
    Column("average_terms", Float, nullable=False),
    Column("spec_hash", StorableText(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("boilerplate", JSON(none_as_null=True), nullable=True),
)

aliases = Table(
    "aliases",
    metadata,
    Column("kind", StorableText(32), primary_key=True),
    Column("name", StorableText(128), primary_key=True),
    Column("alias", StorableText(64), primary_key=True),
    Column("target", StorableText(128), nullable=False),
    Column("version", Integer, nullable=True),
    Column("since", UtcDateTime, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("release_id", StorableText(64), nullable=False, unique=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", StorableText(32), nullable=False),
    Column("name", StorableText(128), nullable=False),
    Column("alias", StorableText(64), nullable=False),
    Column("target", StorableText(128), nullable=False),
    Column("version", Integer, nullable=True),
    Column("previous", StorableText(128), nullable=False),
    Column("previous_version", Integer, nullable=True),
    Column("action", StorableText(16), nullable=False),
    Column("actor", StorableText(128), nullable=False),
    Column("verdict_id", StorableText(64), nullable=False),
    Column("is_forced", Boolean, nullable=False),
    Column("reason", LongText, nullable=False),
    Index("releases_by_name", "kind", "name", "alias"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("kind", StorableText(32), primary_key=True),
    Column("name", StorableText(128), primary_key=True),
    Column("digest", StorableText(64), primary_key=True),
    Column("content", LongText, nullable=False),
    Column("version", Integer, nullable=True),
    Column("author", StorableText(256), nullable=False),
    Column("commit", StorableText(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("verdict_id", StorableText(64), primary_key=True),
    Column("suite", StorableText(128), nullable=False),
    Column("suite_digest", StorableText(64), nullable=False),
    Column("outcome", StorableText(16), nullable=False),
    Column("contents", JSON, nullable=False),
    Column("checks", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", StorableText(128), nullable=False),
    Column("commit", StorableText(64), nullable=False),
    Column("run_id", StorableText(64), nullable=False),
    Column("report", LargeBinary, nullable=False),
    Index("verdicts_by_suite", "suite", "at"),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", StorableText(128), nullable=False),
    Column("action", StorableText(64), nullable=False),
    Column("subject", StorableText(256), nullable=False),
    Column("details", JSON, nullable=False),
    Column("previous_hash", StorableText(64), nullable=False),
    Column("hash", StorableText(64), nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("collection", StorableText(128), primary_key=True),
    Column("document_id", StorableText(64), primary_key=True),
    Column("uri", LongText, nullable=False),
    Column("title", LongText, nullable=False),
    Column("state", StorableText(16), nullable=False),
    Column("reason", LongText, nullable=False),
    Column("n_chunks", Integer, nullable=False),
    Column("n_bytes", Integer, nullable=False),
    Column("content_hash", StorableText(64), nullable=False),
    Column("fingerprint", StorableText(64), nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("listed", StorableText(64), nullable=False, server_default=""),
    Column("item", JSON(none_as_null=True), nullable=True),
    Column("acl", JSON(none_as_null=True), nullable=True),
    Column("labels", JSON(none_as_null=True), nullable=True),
    Column("signature", LargeBinary, nullable=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("retry_at", UtcDateTime, nullable=True),
    Column("expires_at", UtcDateTime, nullable=True),
)

syncs = Table(
    "syncs",
    metadata,
    Column("sync_id", StorableText(64), primary_key=True),
    Column("pipeline", StorableText(128), nullable=False),
    Column("collection", StorableText(128), nullable=False),
    Column("state", StorableText(16), nullable=False),
    Column("source_hash", StorableText(64), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=True),
    Column("checkpoint", JSON(none_as_null=True), nullable=True),
    Column("reason", LongText, nullable=False),
    Column("report", JSON(none_as_null=True), nullable=True),
    Column("owner", StorableText(256), nullable=False, server_default=""),
    Index("syncs_by_pipeline", "pipeline", "started_at"),
)

sync_items = Table(
    "sync_items",
    metadata,
    Column("sync_id", StorableText(64), primary_key=True),
    Column("document_id", StorableText(64), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("batch", Integer, nullable=True),
    Column("item", JSON(none_as_null=True), nullable=True),
)

sync_steps = Table(
    "sync_steps",
    metadata,
    Column("sync_id", StorableText(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("outcome", JSON, nullable=False),
)

source_events = Table(
    "source_events",
    metadata,
    Column("event_id", Integer, primary_key=True),
    Column("pipeline", StorableText(128), nullable=False),
    Column("document_id", StorableText(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", StorableText(16), nullable=False),
    Column("acl", JSON(none_as_null=True), nullable=True),
    Index("source_events_by_document", "pipeline", "document_id"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("origin", StorableText(128), primary_key=True),
    Column("group_principal", StorableText(256), primary_key=True),
    Column("member", StorableText(256), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)

pushed_documents = Table(
    "pushed_documents",
    metadata,
    Column("pipeline", StorableText(128), primary_key=True),
    Column("document_id", StorableText(64), primary_key=True),
    Column("uri", LongText, nullable=False),
    Column("item", JSON, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("worker_id", StorableText(64), primary_key=True),
    Column("place", StorableText(256), nullable=False),
    Column("queues", JSON, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("beat_at", UtcDateTime, nullable=False),
)

forgotten = Table(
    "forgotten",
    metadata,
    Column("pipeline", StorableText(128), primary_key=True),
    Column("document_id", StorableText(64), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", StorableText(128), nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", StorableText(32), primary_key=True),
    Column("name", StorableText(128), nullable=False),
    Column("key_hash", StorableText(64), nullable=False, unique=True),
    Column("role", StorableText(32), nullable=False),
    Column("principals", JSON, nullable=False),
    Column("tenant", StorableText(128), nullable=False, server_default=""),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime, nullable=True),
)
