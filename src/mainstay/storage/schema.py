"""Which version of each room's tables does the database have?

Read from the table that Alembic keeps, without Alembic: importing it takes longer than the rest of a start.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, inspect

__all__ = ["missing", "revisions"]

_TABLE = "alembic_version"


def revisions(connection: Connection) -> frozenset[str]:
    """The revisions that were reached: one for each room; none in a new database."""
    if not inspect(connection).has_table(_TABLE):
        return frozenset()
    rows = connection.exec_driver_sql(f"SELECT version_num FROM {_TABLE}")  # noqa: S608  a constant
    return frozenset(str(row[0]) for row in rows)


def missing(expected: Iterable[str], reached: frozenset[str]) -> list[str]:
    """The revisions that this program needs and the database does not have, in the order given."""
    return [revision for revision in expected if revision not in reached]
