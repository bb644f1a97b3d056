"""Outcomes that need no cards."""

import sqlalchemy as sa
from alembic import op

revision = "outbox_0001"
down_revision = None
branch_labels = ("outbox",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "channel_outcomes",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("turn_id", sa.String(36), nullable=False, unique=True),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("due_at", sa.DateTime, nullable=False),
        sa.Column("ended_at", sa.DateTime),
        sqlite_autoincrement=True,
    )
    op.create_index("channel_outcomes_waiting", "channel_outcomes", ["channel", "state", "lane", "seq"])
