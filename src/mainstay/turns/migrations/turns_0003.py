"""Which messages were taken back."""

import sqlalchemy as sa
from alembic import op

revision = "turns_0003"
down_revision = "turns_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "turn_recalls",
        sa.Column("turn_id", sa.String(36), primary_key=True),
        sa.Column("recalled_at", sa.DateTime, nullable=False),
    )
