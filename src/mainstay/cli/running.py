"""Which service and sandbox does a command talk to?

The ones of this directory: the configuration says where the service listens and where its home is, and the home
says where the sandbox is.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mainstay.config import variables
from mainstay.errors import MainstayError

if TYPE_CHECKING:
    from mainstay.config.model import Config
    from mainstay.sandbox.model import SandboxAddress

__all__ = ["NotRunning", "configured", "find_sandbox", "home_of", "service_url"]


class NotRunning(MainstayError):
    """There is nobody to talk to."""

    exit_code: ClassVar[int] = 3


def configured(args: argparse.Namespace) -> "Config":
    """The configuration that this command line means. Raises ConfigError."""
    from mainstay.config.load import load

    file: Path | None = getattr(args, "config", None)
    return load(file)


def home_of(args: argparse.Namespace) -> Path:
    """Where the daemon is that this command line means, even if the configuration is wrong meanwhile."""
    file: Path | None = getattr(args, "config", None)
    return variables.home_of(file)


def service_url(config: "Config") -> str:
    """Where the service of this configuration answers on this machine."""
    return config.service.url


def find_sandbox(config: "Config") -> "SandboxAddress":
    """The living sandbox of this home. Raises NotRunning."""
    from mainstay.sandbox.process import find

    address = find(config.home)
    if address is None:
        hint = "" if config.sandbox_needed else "; this configuration has credentials and needs none"
        raise NotRunning(f"no sandbox runs for {config.home}: start the service with `mainstay serve`{hint}")
    return address
