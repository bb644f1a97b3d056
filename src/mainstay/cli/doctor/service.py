"""Does the service answer, whom, and who is told when it does not?"""

import errno
import http.client
import os
import re
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mainstay.asgi import is_loopback
from mainstay.cli.doctor.model import Finding, Project, configured, failed, ok, skipped, warning
from mainstay.cli.doctor.processes import instances
from mainstay.cli.running import service_url
from mainstay.cli.services import services
from mainstay.config.model import Config
from mainstay.errors import MainstayError
from mainstay.web.ports import holder

__all__ = ["access", "alerts", "devtools", "port", "probes"]

_WITHIN_S: Final = 3.0
_PROBES: Final = ("/livez", "/readyz", "/health")


@configured
def port(project: Project, config: Config) -> Finding:
    """Whether it is free, or held by this project's service."""
    service = config.service
    if not services(config):
        return skipped("no app is this project's service")
    if not service.port:
        return skipped("the service takes any free one")
    where = f"port {service.port} on {service.host}"
    try:
        found = socket.getaddrinfo(service.host, service.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
    except OSError as error:
        return failed(f"{service.host} is no address here: {error.strerror}: set service.host to one")
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return failed(f"{where} can not be had: {error.strerror}: set another service.host or service.port")
        else:
            return ok(f"{where} is free")
    by = holder(str(address[0]), service.port) or "another process"
    if _is_ours(by, project):
        return ok(f"{where} is held by {by}, this project's service")
    return failed(f"{where} is taken by {by}: stop it, or set another service.port")


def _is_ours(by: str, project: Project) -> bool:
    """Whether that process is a mainstay that works for this project: in its directory, or on its home.

    The supervisor and its keeper hold the service's socket, too.
    """
    found = re.match(r"process (\d+)", by)
    if found is None:
        return False
    process = Path("/proc") / found[1]
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        is_here = (process / "cwd").readlink() == project.directory.resolve() or os.fsencode(project.home) in words
        return is_here and any(b"mainstay" in word for word in words)
    except OSError:
        return False


@configured
def probes(project: Project, config: Config) -> Finding:
    """What the service says of itself."""
    if not services(config):
        return skipped("no app is this project's service")
    if not config.service.port:
        return skipped("the service takes any free port: `mainstay list` says which")
    origin = service_url(config)
    try:
        answers = {probe: _status(origin, probe) for probe in _PROBES}
    except ConnectionRefusedError:
        if _is_said_to_run(project, config):
            return failed(f"{origin} refuses, and the supervisor says that the service runs: `mainstay logs`")
        return skipped("the service does not run")
    except (OSError, http.client.HTTPException) as error:
        return failed(f"{origin} does not answer ({type(error).__name__}): it may hang; `mainstay logs`")
    bad = {probe: status for probe, status in answers.items() if status != http.client.OK}
    if not bad:
        return ok(f"{', '.join(answers)} answer at {origin}")
    says = ", ".join(f"{probe} answers {status}" for probe, status in bad.items())
    return failed(f"{says} at {origin}: `mainstay health` says why")


def _status(origin: str, probe: str) -> int:
    parts = urlsplit(origin)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_WITHIN_S)
    try:
        connection.request("GET", probe)
        return connection.getresponse().status
    finally:
        connection.close()


def _is_said_to_run(project: Project, config: Config) -> bool:
    ours = set(services(config))
    try:
        listed = instances(project)
    except MainstayError:
        return False
    return any(each["name"].rpartition(":")[0] in ours and each["state"] == "ready" for each in listed)


@configured
def access(_: Project, config: Config) -> Finding:
    """Who reaches it."""
    service = config.service
    if not is_loopback(service.host):
        return warning(
            f"others reach {service.host} without TLS, and tokens travel in the clear: bind 127.0.0.1, and put a "
            "proxy that ends TLS before it (docs/how-to/deploy.md)"
        )
    through = f", and a proxy as {', '.join(service.public_hosts)}" if service.public_hosts else ""
    return ok(f"only this machine reaches it{through}; all but health and signed webhooks needs a token")


@configured
def devtools(_: Project, config: Config) -> Finding:
    """The page for looking into it."""
    if config.service.devtools:
        return warning("service.devtools is accepted and does nothing: this version has no such page")
    return skipped("this version has no such page")


def alerts(_: Project) -> Finding:
    """Who is told."""
    return warning(
        "nobody is told when it fails: this version has no alerts; let something outside of here ask /health"
    )
