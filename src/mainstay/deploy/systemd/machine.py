"""What does systemd have to be told, so that it and the supervisor do not work against each other?

Pure. systemd keeps the supervisor, the supervisor keeps the apps:

- ``KillMode=process``: apps outlive a crash of the supervisor, and the next one finds them with the same pids.
- ``Restart=on-failure``: a crash, a hang or a kill starts it again; `mainstay kill`, which ends well, does not.
- ``RestartPreventExitStatus=2``: a wrong configuration is not better at the next try.
- ``OOMPolicy=continue``: when the kernel kills one app for its memory, the others go on.
- ``Delegate=yes``: what is below its control group is the supervisor's.

What would keep foreign programs from their work (``PrivateTmp``, ``NoNewPrivileges`` and all that imply it) is left
to whoever knows them: `systemctl edit`.
"""

import math
import re
from collections.abc import Iterator
from typing import Final

from mainstay.deploy.systemd.model import Unit

__all__ = ["is_of", "unit_text"]

_MARK: Final = "# Written by `mainstay startup` for {}; `mainstay unstartup` removes it."
_TO_END_S: Final = 30
"""What the supervisor itself needs to end, after the apps."""


def unit_text(unit: Unit) -> str:
    """The file."""
    return "\n".join(_lines(unit)) + "\n"


def is_of(text: str, directory: str) -> bool:
    """Whether we have written this for that project."""
    return text.partition("\n")[0] == _MARK.format(directory)


def _lines(unit: Unit) -> Iterator[str]:
    yield _MARK.format(unit.directory)
    yield "[Unit]"
    yield f"Description=Mainstay, the supervisor of {_plain(unit.directory)}"
    if unit.user:
        yield from ("Wants=network-online.target", "After=network-online.target")
    yield from ("StartLimitIntervalSec=300", "StartLimitBurst=10", "", "[Service]")
    yield from ("Type=notify", "NotifyAccess=main", "WatchdogSec=30")
    if unit.user:
        yield f"User={_plain(unit.user)}"
    yield f"WorkingDirectory={_plain(unit.directory)}"
    for name, value in unit.environment.items():
        yield f"Environment={_word(f'{name}={value}')}"
    yield f"ExecStart={_words(*unit.command, 'daemon', '--boot', *unit.arguments)}"
    yield f"ExecReload={_words(*unit.command, 'reload', *unit.arguments)}"
    yield from ("Restart=on-failure", "RestartSec=1", "RestartPreventExitStatus=2")
    yield from ("KillMode=process", f"TimeoutStopSec={math.ceil(unit.stop_s) + _TO_END_S}")
    yield from ("Delegate=yes", "OOMPolicy=continue", "TasksMax=infinity")
    if unit.user:
        yield "ProtectSystem=full"
    yield from ("", "[Install]", f"WantedBy={'multi-user' if unit.user else 'default'}.target")


def _plain(text: str) -> str:
    """A value that is not split into words."""
    return text.replace("%", "%%")


def _words(program: str, *words: str) -> str:
    """A command; systemd looks for variables in all of its words but the program."""
    return " ".join((_word(program), *(_word(word.replace("$", "$$")) for word in words)))


def _word(text: str) -> str:
    """One word: %, quotes and backslashes mean something to systemd."""
    escaped = _plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return escaped if re.fullmatch(r"[A-Za-z0-9_./:=@%+,-]+", escaped) else f'"{escaped}"'
