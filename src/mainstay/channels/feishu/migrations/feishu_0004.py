"""What people did to their messages, and what reactions they carry."""

import sqlalchemy as sa
from alembic import op

revision = "feishu_0004"
down_revision = "feishu_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feishu_edits",
        sa.Column("channel", sa.String(64), primary_key=True),
        sa.Column("message_id", sa.String(64), primary_key=True),
        sa.Column("edited_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "feishu_receipts",
        sa.Column("channel", sa.String(64), primary_key=True),
        sa.Column("message_id", sa.String(64), primary_key=True),
        sa.Column("reaction_id", sa.String(128), nullable=False),
        sa.Column("shown_at", sa.DateTime, nullable=False),
    )
