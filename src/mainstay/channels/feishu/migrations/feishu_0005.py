"""How many calls each app has made in a month."""

import sqlalchemy as sa
from alembic import op

revision = "feishu_0005"
down_revision = "feishu_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feishu_calls",
        sa.Column("app_id", sa.String(64), primary_key=True),
        sa.Column("month", sa.String(7), primary_key=True),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("stretched_at", sa.DateTime, nullable=True),
        sa.Column("stretched_used", sa.BigInteger, nullable=True),
    )
