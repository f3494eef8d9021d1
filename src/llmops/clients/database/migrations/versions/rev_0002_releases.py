"""Releases: aliases of every kind with their history, artifacts, verdicts, and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from llmops.clients.database.tables import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _aliases()
    op.add_column("traces", sa.Column("findings", sa.JSON(), nullable=True))
    op.create_table(
        "releases",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("release_id", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("previous", sa.String(length=128), nullable=False),
        sa.Column("previous_version", sa.Integer(), nullable=True),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("verdict_id", sa.String(length=64), nullable=False),
        sa.Column("is_forced", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("release_id"),
    )
    op.create_index("releases_by_name", "releases", ["kind", "name", "alias"])
    op.create_table(
        "artifacts",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("author", sa.String(length=256), nullable=False),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "digest"),
    )
    op.create_table(
        "verdicts",
        sa.Column("verdict_id", sa.String(length=64), nullable=False),
        sa.Column("suite", sa.String(length=128), nullable=False),
        sa.Column("suite_digest", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("contents", sa.JSON(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("verdict_id"),
    )
    op.create_index("verdicts_by_suite", "verdicts", ["suite", "at"])
    op.create_table(
        "audit",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )


def _aliases() -> None:
    """Aliases were collections' only; every row is kept."""
    op.rename_table("aliases", "aliases_0001")
    op.create_table(
        "aliases",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "alias", name="aliases_of_every_kind"),
    )
    op.execute(
        "INSERT INTO aliases (kind, name, alias, target, version, since) "
        "SELECT 'collection', alias, 'production', collection, NULL, since FROM aliases_0001"
    )
    op.drop_table("aliases_0001")


def downgrade() -> None:
    """Back to aliases of collections; what else was released, judged and audited is lost."""
    for table in ("audit", "verdicts", "artifacts", "releases"):
        op.drop_table(table)
    with op.batch_alter_table("traces") as traces:
        traces.drop_column("findings")
    op.rename_table("aliases", "aliases_0002")
    op.create_table(
        "aliases",
        sa.Column("alias", sa.String(length=128), nullable=False),
        sa.Column("collection", sa.String(length=128), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("alias", name="aliases_of_collections"),
    )
    op.execute(
        "INSERT INTO aliases (alias, collection, since) "
        "SELECT name, target, since FROM aliases_0002 WHERE kind = 'collection' AND alias = 'production'"
    )
    op.drop_table("aliases_0002")
