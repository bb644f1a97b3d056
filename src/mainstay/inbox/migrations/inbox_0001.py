"""The inbox."""

import sqlalchemy as sa
from alembic import op

revision = "inbox_0001"
down_revision = None
branch_labels = ("inbox",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("turn_id", sa.String(36), nullable=False, unique=True),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("accepted_at", sa.DateTime, nullable=False),
        sa.Column("due_at", sa.DateTime, nullable=False),
        sa.Column("lease_until_at", sa.DateTime),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("closed_at", sa.DateTime),
        sqlite_autoincrement=True,
    )
    op.create_index("inbox_open", "inbox", ["lane", "seq"], sqlite_where=sa.text("closed_at IS NULL"))
    op.create_index("inbox_closed", "inbox", ["state", "closed_at"], sqlite_where=sa.text("closed_at IS NOT NULL"))
