"""What was spent on models, by day, chat and model."""

import sqlalchemy as sa
from alembic import op

revision = "models_0001"
down_revision = None
branch_labels = ("models",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_spending",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("chat", sa.Text, primary_key=True),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("picodollars", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("estimated", sa.Integer, nullable=False),
        sa.Column("unpriced", sa.Integer, nullable=False),
    )
