"""Where are cards, outcomes, the chats that were heard of, and what people did to their messages kept?"""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

from mainstay.storage.columns import Utc

__all__ = ["HEAD", "calls", "cards", "chats", "edits", "feedback", "metadata", "outbox", "receipts"]

HEAD: Final = "feishu_0006"

metadata = MetaData()

cards = Table(
    "feishu_cards",
    metadata,
    Column("turn_id", String(36), primary_key=True),
    Column("channel", String(64), nullable=False),
    Column("card_id", String(64), nullable=False),
    Column("message_id", String(64), nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("part_of", String(36), nullable=False, server_default=""),
    Column("part", Integer, nullable=False, server_default="0"),
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("retired", String(64), nullable=False, server_default=""),
)
"""``turn_id`` is the card's key: of a turn's first card the turn's, which ``part_of`` has of the further ones."""

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
    Column("footer", Text, nullable=False, server_default=""),
    Column("suggestions", Text, nullable=False, server_default="[]"),
)

feedback = Table(
    "feishu_feedback",
    metadata,
    Column("turn_id", String(36), primary_key=True),
    Column("person", String(64), primary_key=True),
    Column("channel", String(64), nullable=False),
    Column("vote", String(8), nullable=False),
    Column("at", Utc, nullable=False),
)

chats = Table(
    "feishu_chats",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("container_id", String(64), primary_key=True),
    Column("is_thread", Boolean, nullable=False),
    Column("chat_id", String(64), nullable=False),
    Column("chat_type", String(16), nullable=False),
    Column("heard_at", Utc, nullable=False),
)

Index("feishu_outbox_pending", outbox.c.channel, outbox.c.state, outbox.c.lane, outbox.c.seq)

edits = Table(
    "feishu_edits",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("message_id", String(64), primary_key=True),
    Column("edited_at", Utc, nullable=False),
)

# the reaction that says of a message that it was seen; gone when it was replaced by what became of it
receipts = Table(
    "feishu_receipts",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("message_id", String(64), primary_key=True),
    Column("reaction_id", String(128), nullable=False),
    Column("shown_at", Utc, nullable=False),
)

calls = Table(
    "feishu_calls",
    metadata,
    Column("app_id", String(64), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("used", BigInteger, nullable=False),
    Column("stretched_at", Utc, nullable=True),
    Column("stretched_used", BigInteger, nullable=True),
)
