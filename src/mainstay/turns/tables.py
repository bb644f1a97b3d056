"""Where are the steps of turns kept, and what was taken back?"""

from typing import Final

from sqlalchemy import Boolean, Column, Integer, LargeBinary, MetaData, String, Table, Text

from mainstay.storage.columns import Utc

__all__ = ["HEAD", "metadata", "turn_recalls", "turn_steps"]

HEAD: Final = "turns_0003"

metadata = MetaData()

turn_steps = Table(
    "turn_steps",
    metadata,
    Column("turn_id", String(36), primary_key=True),
    Column("step_id", String(128), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("agent", String(64), nullable=False),
    Column("tool", String(128), nullable=False),
    Column("arguments", Text, nullable=False),
    Column("effects", Boolean, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("result", Text, nullable=False),
    Column("intended_at", Utc, nullable=False),
    # since when they wait for another try at a turn that has failed; NULL while the turn is open
    Column("kept_at", Utc, nullable=True),
)

turn_recalls = Table(
    "turn_recalls",
    metadata,
    Column("turn_id", String(36), primary_key=True),
    Column("recalled_at", Utc, nullable=False),
)
