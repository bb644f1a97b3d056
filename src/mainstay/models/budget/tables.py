"""Where is it kept what was spent?

Dollars are kept as whole picodollars: SQLite adds integers exactly, and decimals not at all. A price has up to six
decimals for a million tokens, so that nothing is ever rounded.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Date, Integer, MetaData, String, Table, Text

__all__ = ["HEAD", "metadata", "spending"]

HEAD: Final = "models_0001"

metadata = MetaData()

spending = Table(
    "model_spending",
    metadata,
    Column("day", Date, primary_key=True),
    Column("chat", Text, primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("picodollars", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("estimated", Integer, nullable=False),
    Column("unpriced", Integer, nullable=False),
)
