"""``mainstay sandbox``: run the sandbox by itself, in the foreground."""

import argparse

from mainstay.cli.running import configured

__all__ = ["add", "run"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("sandbox", help="run the sandbox by itself; `mainstay serve` then uses this one")
    parser.add_argument("--tokens-per-second", type=float, metavar="N", help="how fast its models write")
    parser.add_argument("--time-scale", type=float, metavar="N", help="how long a second of the platform lasts")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    from mainstay.sandbox.__main__ import main
    from mainstay.sandbox.model import USUAL_MODELS

    config = configured(args)
    speed = config.sandbox.tokens_per_second if args.tokens_per_second is None else args.tokens_per_second
    scale = config.sandbox.time_scale if args.time_scale is None else args.time_scale
    models = ",".join(config.sandbox_models or USUAL_MODELS)
    settings = ["--models", models, "--tokens-per-second", str(speed), "--time-scale", str(scale)]
    return main(["--home", str(config.home), *settings])
