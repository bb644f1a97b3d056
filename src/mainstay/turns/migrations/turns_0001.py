"""The steps of turns."""

import sqlalchemy as sa
from alembic import op

revision = "turns_0001"
down_revision = None
branch_labels = ("turns",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "turn_steps",
        sa.Column("turn_id", sa.String(36), primary_key=True),
        sa.Column("step_id", sa.String(128), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("agent", sa.String(64), nullable=False),
        sa.Column("tool", sa.String(128), nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("effects", sa.Boolean, nullable=False),
        sa.Column("checkpoint", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("intended_at", sa.DateTime, nullable=False),
    )
