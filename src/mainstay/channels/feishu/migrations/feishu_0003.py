"""Answers in several cards, cards in the place of others, what stands under an answer, what people think of it."""

import sqlalchemy as sa
from alembic import op

revision = "feishu_0003"
down_revision = "feishu_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feishu_cards", sa.Column("part_of", sa.String(36), nullable=False, server_default=""))
    op.add_column("feishu_cards", sa.Column("part", sa.Integer, nullable=False, server_default="0"))
    op.add_column("feishu_cards", sa.Column("generation", sa.Integer, nullable=False, server_default="0"))
    op.add_column("feishu_cards", sa.Column("retired", sa.String(64), nullable=False, server_default=""))
    op.add_column("feishu_outbox", sa.Column("footer", sa.Text, nullable=False, server_default=""))
    op.add_column("feishu_outbox", sa.Column("suggestions", sa.Text, nullable=False, server_default="[]"))
    op.create_table(
        "feishu_feedback",
        sa.Column("turn_id", sa.String(36), primary_key=True),
        sa.Column("person", sa.String(64), primary_key=True),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("vote", sa.String(8), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )
