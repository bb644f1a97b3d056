"""``mainstay migrate``: bring the database to what this version needs."""

import argparse

from mainstay.cli.running import configured

__all__ = ["add", "run"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("migrate", help="make the database, or bring it to what this version needs")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit code 1 when there is something to do"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing when there is nothing to do")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Migrate, or tell what would be done."""
    from mainstay.schema import SCHEMA
    from mainstay.storage.migrate import pending, upgrade

    url = configured(args).storage.url
    steps = pending(url, SCHEMA) if args.check else upgrade(url, SCHEMA)
    if steps:
        print(f"{'to do' if args.check else 'done'}: {', '.join(steps)}")
    elif not args.quiet:
        print("the database is up to date")
    return 1 if args.check and steps else 0
