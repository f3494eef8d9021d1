"""What the steps of a queued sync hand each other lies on the ledger, where an erasure reaches it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sync_steps",
        sa.Column("sync_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sync_id", "number"),
    )


def downgrade() -> None:
    op.drop_table("sync_steps")
