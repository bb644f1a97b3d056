"""Where is it kept which breakers are open, and until when?"""

from typing import Final

from sqlalchemy import Column, Float, MetaData, String, Table

from mainstay.storage.columns import Utc

__all__ = ["HEAD", "metadata", "pauses"]

HEAD: Final = "recovery_0001"

metadata = MetaData()

pauses = Table(
    "breaker_pauses",
    metadata,
    Column("identity", String(128), primary_key=True),
    Column("until_at", Utc, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("category", String(32), nullable=False),
    Column("message", String(255), nullable=False),
)
