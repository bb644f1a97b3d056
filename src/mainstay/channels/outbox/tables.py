"""Where are outcomes kept that need no cards?"""

from typing import Final

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text

from mainstay.storage.columns import Utc

__all__ = ["HEAD", "metadata", "outcomes"]

HEAD: Final = "outbox_0001"

metadata = MetaData()

outcomes = Table(
    "channel_outcomes",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("turn_id", String(36), nullable=False, unique=True),
    Column("channel", String(64), nullable=False),
    Column("lane", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("due_at", Utc, nullable=False),
    Column("ended_at", Utc),
    sqlite_autoincrement=True,
)

Index("channel_outcomes_waiting", outcomes.c.channel, outcomes.c.state, outcomes.c.lane, outcomes.c.seq)
