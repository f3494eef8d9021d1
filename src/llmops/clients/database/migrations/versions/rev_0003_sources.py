"""Sources that a company trusts: versions, permissions and attempts of documents, syncs, groups, erasures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from llmops.clients.database.tables import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("workers", "forgotten", "pushed_documents", "memberships", "source_events", "sync_items", "syncs")


def upgrade() -> None:
    _documents()
    op.add_column("api_keys", sa.Column("tenant", sa.String(length=128), nullable=False, server_default=""))
    op.add_column("collections", sa.Column("boilerplate", sa.JSON(), nullable=True))
    _syncs()
    op.create_table(
        "source_events",
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("pipeline", sa.String(length=128), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("acl", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("source_events_by_document", "source_events", ["pipeline", "document_id"])
    op.create_table(
        "memberships",
        sa.Column("origin", sa.String(length=128), nullable=False),
        sa.Column("group_principal", sa.String(length=256), nullable=False),
        sa.Column("member", sa.String(length=256), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("origin", "group_principal", "member"),
    )
    op.create_table(
        "pushed_documents",
        sa.Column("pipeline", sa.String(length=128), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("item", sa.JSON(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "document_id"),
    )
    op.create_table(
        "workers",
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("place", sa.String(length=256), nullable=False),
        sa.Column("queues", sa.JSON(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("beat_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id"),
    )
    op.create_table(
        "forgotten",
        sa.Column("pipeline", sa.String(length=128), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "document_id"),
    )


def _documents() -> None:
    """What is known of a document so far stays; what is new is filled by its next sync."""
    for column in (
        sa.Column("listed", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("item", sa.JSON(), nullable=True),
        sa.Column("acl", sa.JSON(), nullable=True),
        sa.Column("labels", sa.JSON(), nullable=True),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("retry_at", UtcDateTime(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
    ):
        op.add_column("documents", column)


def _syncs() -> None:
    op.create_table(
        "syncs",
        sa.Column("sync_id", sa.String(length=64), nullable=False),
        sa.Column("pipeline", sa.String(length=128), nullable=False),
        sa.Column("collection", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("source_hash", sa.String(length=64), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("checkpoint", sa.JSON(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.Column("owner", sa.String(length=256), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("sync_id"),
    )
    op.create_index("syncs_by_pipeline", "syncs", ["pipeline", "started_at"])
    op.create_table(
        "sync_items",
        sa.Column("sync_id", sa.String(length=64), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=True),
        sa.Column("item", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("sync_id", "document_id"),
    )


def downgrade() -> None:
    """Back to folders: documents keep what the earlier version knew of them; groups and syncs are lost."""
    for table in _TABLES:
        op.drop_table(table)
    with op.batch_alter_table("api_keys") as keys:
        keys.drop_column("tenant")
    with op.batch_alter_table("collections") as collections:
        collections.drop_column("boilerplate")
    with op.batch_alter_table("documents") as documents:
        for name in ("listed", "item", "acl", "labels", "signature", "attempts", "retry_at", "expires_at"):
            documents.drop_column(name)
