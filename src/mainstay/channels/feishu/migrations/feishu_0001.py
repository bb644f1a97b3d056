"""Cards, and outcomes on their way."""

import sqlalchemy as sa
from alembic import op

revision = "feishu_0001"
down_revision = None
branch_labels = ("feishu",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feishu_cards",
        sa.Column("turn_id", sa.String(36), primary_key=True),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("card_id", sa.String(64), nullable=False),
        sa.Column("message_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "feishu_outbox",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("turn_id", sa.String(36), nullable=False, unique=True),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("lane", sa.String(512), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("notice", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("via", sa.String(8), nullable=False),
        sa.Column("apologise", sa.Boolean, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("due_at", sa.DateTime, nullable=False),
        sa.Column("text_since", sa.DateTime, nullable=True),
        sa.Column("ended_at", sa.DateTime, nullable=True),
    )
    op.create_index("feishu_outbox_pending", "feishu_outbox", ["channel", "state", "lane", "seq"])


def downgrade() -> None:
    op.drop_table("feishu_outbox")
    op.drop_table("feishu_cards")
