"""Where are cards and outcomes on their way kept?"""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

from mainstay.storage.columns import Utc

__all__ = ["HEAD", "calls", "cards", "metadata", "outbox"]

HEAD: Final = "feishu_0005"

metadata = MetaData()

cards = Table(
    "feishu_cards",
    metadata,
    Column("turn_id", String(36), primary_key=True),
    Column("channel", String(64), nullable=False),
    Column("card_id", String(64), nullable=False),
    Column("message_id", String(64), nullable=False),
    Column("created_at", Utc, nullable=False),
)

outbox = Table(
    "feishu_outbox",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("turn_id", String(36), nullable=False, unique=True),
    Column("channel", String(64), nullable=False),
    Column("lane", String(512), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("notice", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("via", String(8), nullable=False),
    Column("apologise", Boolean, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("due_at", Utc, nullable=False),
    Column("text_since", Utc, nullable=True),
    Column("ended_at", Utc, nullable=True),
    Column("offer", String(16), nullable=False, server_default="none"),
)

Index("feishu_outbox_pending", outbox.c.channel, outbox.c.state, outbox.c.lane, outbox.c.seq)

calls = Table(
    "feishu_calls",
    metadata,
    Column("app_id", String(64), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("used", BigInteger, nullable=False),
    Column("stretched_at", Utc, nullable=True),
    Column("stretched_used", BigInteger, nullable=True),
)
