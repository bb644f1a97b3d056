"""Where are accepted messages kept?"""

from typing import Final

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text, text

from mainstay.storage.columns import Utc

__all__ = ["HEAD", "inbox", "metadata"]

HEAD: Final = "inbox_0001"

metadata = MetaData()

inbox = Table(
    "inbox",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("turn_id", String(36), nullable=False, unique=True),
    Column("lane", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("accepted_at", Utc, nullable=False),
    Column("due_at", Utc, nullable=False),
    Column("lease_until_at", Utc),
    Column("message", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("closed_at", Utc),
    # The two conditions part the rows: a claim never walks over what is finished.
    Index("inbox_open", "lane", "seq", sqlite_where=text("closed_at IS NULL")),
    Index("inbox_closed", "state", "closed_at", sqlite_where=text("closed_at IS NOT NULL")),
    sqlite_autoincrement=True,
)
