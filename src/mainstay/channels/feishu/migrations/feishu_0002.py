"""Whether another try is offered on the card of a failed turn."""

import sqlalchemy as sa
from alembic import op

revision = "feishu_0002"
down_revision = "feishu_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feishu_outbox", sa.Column("offer", sa.String(16), nullable=False, server_default="none"))
