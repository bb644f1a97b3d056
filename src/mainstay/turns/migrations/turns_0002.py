"""Since when steps are kept for another try at their turn."""

import sqlalchemy as sa
from alembic import op

revision = "turns_0002"
down_revision = "turns_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("turn_steps", sa.Column("kept_at", sa.DateTime, nullable=True))
