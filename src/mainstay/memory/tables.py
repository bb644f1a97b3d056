"""Where is kept what was said before?"""

from typing import Final

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

from mainstay.storage.columns import Utc

__all__ = ["HEAD", "exchanges", "metadata", "notes"]

HEAD: Final = "memory_0001"

metadata = MetaData()

exchanges = Table(
    "memory_exchanges",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("turn_id", String(36), nullable=False, unique=True),
    Column("lane", Text, nullable=False),
    Column("user_text", Text, nullable=False),
    Column("answer_text", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("at", Utc, nullable=False),
    Index("memory_exchanges_lane", "lane", "seq"),
    Index("memory_exchanges_at", "at"),
    sqlite_autoincrement=True,
)

notes = Table(
    "memory_notes",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("person", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Utc, nullable=False),
    Index("memory_notes_person", "person", "seq"),
    Index("memory_notes_at", "at"),
    sqlite_autoincrement=True,
)
