"""Where are cards and outcomes on their way kept?"""

from typing import Final

from sqlalchemy import Boolean, Column, Index, Integer, MetaData, String, Table, Text

from mainstay.storage.columns import Utc

__all__ = ["HEAD", "cards", "feedback", "metadata", "outbox"]

HEAD: Final = "feishu_0003"

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

Index("feishu_outbox_pending", outbox.c.channel, outbox.c.state, outbox.c.lane, outbox.c.seq)
