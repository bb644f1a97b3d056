"""How is an app asked once?

Whatever goes wrong is the answer that it fails: an error of a probe is not thrown away.
"""

import asyncio
import json
import os
import sys
from typing import Final

from mainstay.supervisor.model import Ended
from mainstay.supervisor.probes.commands import Commands, Order
from mainstay.supervisor.probes.http import Answer, get
from mainstay.supervisor.probes.model import UNIX, HealthSettings, ProbeSettings, Result
from mainstay.units import format_duration

__all__ = ["ask", "ask_health"]

_LONGEST_DETAIL: Final = 200
_NOT_WELL: Final = frozenset({"degraded", "unhealthy"})


async def ask(name: str, probe: ProbeSettings, *, commands: Commands, order: Order) -> Result:
    """Ask what this probe asks.

    Args:
        name: of the instance and the probe, ``"web:0:liveness"``.
        probe: what, and how long it may take.
        commands: runs a command.
        order: the command in the environment of the app.
    """
    too_late = Result(passed=False, detail=f"no answer within {format_duration(probe.timeout)}")
    if probe.command:
        how = await commands.run(name, order, probe.timeout)
        return too_late if how is None else _ended(how)
    try:
        async with asyncio.timeout(probe.timeout):
            if probe.tcp:
                await _connect(probe.tcp)
                return Result(passed=True, detail="connected")
            answer = await get(probe.http)
    except TimeoutError:
        return too_late
    except (OSError, EOFError, ValueError) as error:
        return Result(passed=False, detail=_why(error))
    return Result(passed=200 <= answer.status < 400, detail=f"HTTP status {answer.status}")


async def ask_health(probe: HealthSettings) -> Result:
    """Ask how it fares; no answer, or one of another kind, says nothing."""
    try:
        async with asyncio.timeout(probe.timeout):
            answer = await get(probe.http)
    except TimeoutError:
        return Result(passed=None, detail=f"no answer within {format_duration(probe.timeout)}")
    except (OSError, EOFError, ValueError) as error:
        return Result(passed=None, detail=_why(error))
    status, reasons = _report(answer)
    if status in _NOT_WELL or answer.status == 503:
        detail = "; ".join(filter(None, (status or "HTTP status 503", reasons)))
        return Result(passed=False, detail=detail[:_LONGEST_DETAIL])
    if 200 <= answer.status < 300:
        return Result(passed=True, detail=status or f"HTTP status {answer.status}")
    return Result(passed=None, detail=f"HTTP status {answer.status}")


def _report(answer: Answer) -> tuple[str, str]:
    """The status and the reasons of a health report; whatever else is sent is data of a stranger."""
    try:
        report = json.loads(answer.content)
    except (ValueError, RecursionError):
        return "", ""
    status, reasons = (report.get("status"), report.get("reasons")) if isinstance(report, dict) else (None, None)
    words = [reason for reason in reasons if isinstance(reason, str)] if isinstance(reasons, list) else []
    return (status[:_LONGEST_DETAIL] if isinstance(status, str) else ""), ", ".join(words)


async def _connect(address: str) -> None:
    if address.startswith(UNIX):
        _, writer = await asyncio.open_unix_connection(address.removeprefix(UNIX))
    else:
        host, _, port = address.rpartition(":")
        _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.transport.abort()


def _ended(how: Ended | str) -> Result:
    return Result(passed=how == Ended(code=0), detail=how if isinstance(how, str) else str(how))


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and error.errno > 0 and not _is_of_tls(error):
        return os.strerror(error.errno).lower()
    if isinstance(error, EOFError):
        return "the answer breaks off"
    return (str(error) or type(error).__name__)[:_LONGEST_DETAIL]


def _is_of_tls(error: OSError) -> bool:
    """Its numbers are others; where the module is not there, nothing can be of it."""
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(error, ssl.SSLError)
