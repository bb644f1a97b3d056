"""What can be typed after ``python -m mainstay.sandbox``?

Starts the sandbox of a home in the foreground. A home has one sandbox: where one lives already, this prints where
it is and exits 0.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from mainstay.sandbox.model import USUAL_MODELS
from mainstay.sandbox.process import find
from mainstay.sandbox.server import Launch, claim, serve

_WAIT_S = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 when it was stopped or one lives already, 1 when it could not start."""
    given = _parser().parse_args(arguments)
    launch = Launch(
        home=given.home,
        models=tuple(name.strip() for name in given.models.split(",") if name.strip()),
        model_ports={name: getattr(given, f"port_{name}") for name in USUAL_MODELS},
        feishu_port=given.port_feishu,
        time_scale=given.time_scale,
        tokens_per_second=given.tokens_per_second,
        owner=given.owner,
        grace_s=given.grace,
    )
    try:
        with claim(launch.home) as ours:
            if not ours:
                return _say_where(launch.home)
            asyncio.run(serve(launch))
    except (OSError, ValueError) as error:
        print(f"the sandbox can not start: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _say_where(home: Path) -> int:
    """It may be starting at this moment: its address comes when it is ready."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        address = find(home)
        if address is not None:
            print(f"a sandbox lives here already: {address.feishu_url} (pid {address.pid}, home {home})")  # noqa: T201
            return 0
        time.sleep(0.05)
    print(f"another process holds {home}/sandbox.lock, but no sandbox answers", file=sys.stderr)  # noqa: T201
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mainstay.sandbox",
        description="A local Feishu platform and model providers that misbehave on command.",
    )
    parser.add_argument("--home", type=Path, required=True, help="where sandbox.json is written")
    parser.add_argument("--models", default=",".join(USUAL_MODELS), help="the names of its models")
    for name in (*USUAL_MODELS, "feishu"):
        parser.add_argument(f"--port-{name}", type=int, default=0, help="0: any free port")
    parser.add_argument("--time-scale", type=float, default=1.0, help="0.01: the platform's 15 s last 0.15 s")
    parser.add_argument("--tokens-per-second", type=float, default=60.0, help="0: the whole answer at once")
    parser.add_argument("--owner", type=int, default=0, help="pid of the process to run for; 0: until stopped")
    parser.add_argument("--grace", type=float, default=60.0, help="seconds to outlive that process")
    return parser


if __name__ == "__main__":
    sys.exit(main())
