"""The chats in which the bot was last spoken to, to be asked for what it has missed."""

import sqlalchemy as sa
from alembic import op

revision = "feishu_0006"
down_revision = "feishu_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feishu_chats",
        sa.Column("channel", sa.String(64), primary_key=True),
        sa.Column("container_id", sa.String(64), primary_key=True),
        sa.Column("is_thread", sa.Boolean, nullable=False),
        sa.Column("chat_id", sa.String(64), nullable=False),
        sa.Column("chat_type", sa.String(16), nullable=False),
        sa.Column("heard_at", sa.DateTime, nullable=False),
    )
