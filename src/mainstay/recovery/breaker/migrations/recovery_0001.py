"""The pauses of breakers."""

import sqlalchemy as sa
from alembic import op

revision = "recovery_0001"
down_revision = None
branch_labels = ("recovery",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "breaker_pauses",
        sa.Column("identity", sa.String(128), primary_key=True),
        sa.Column("until_at", sa.DateTime, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("category", sa.String(32), nullable=False),
        sa.Column("message", sa.String(255), nullable=False),
    )
