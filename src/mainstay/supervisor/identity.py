"""As whom does an app run?"""

import os
from dataclasses import dataclass
from typing import Final

from mainstay.errors import ConfigError

__all__ = ["Identity", "identity"]

_LAST: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user with everything that the kernel wants to know.

    Attributes:
        groups: all, the first one included.
        name, home, shell: as the system's list of users has them; empty for a number that is in no list.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str = ""
    home: str = ""
    shell: str = ""

    def environ(self) -> dict[str, str]:
        """What programs expect to find about it."""
        said = {"USER": self.name, "LOGNAME": self.name, "HOME": self.home, "SHELL": self.shell}
        return {key: value for key, value in said.items() if value}


def identity(user: str, group: str) -> Identity | None:
    """From what is written in the settings of an app; None if nothing is.

    Raises:
        ConfigError: there is no such user or group, or this process may not start anything as that.
    """
    if not user and not group:
        return None
    import pwd  # only where it is asked for

    account = None
    try:
        account = pwd.getpwuid(_number(user)) if user.isdecimal() else pwd.getpwnam(user) if user else None
    except KeyError:
        if not user.isdecimal():
            raise ConfigError(f"there is no user {user}: add it to this system, or mend `user`") from None
    uid = account.pw_uid if account else _number(user) if user else os.geteuid()
    gid = _gid(group) if group else account.pw_gid if account else None
    if gid is None:
        raise ConfigError(f"user {user} is in no list of this system, so `group` has to say its group")
    name = account.pw_name if account else ""
    groups = tuple(os.getgrouplist(name, gid)) if name else (gid,)
    _allowed(uid, gid, user or str(uid), group or str(gid))
    return Identity(
        uid=uid,
        gid=gid,
        groups=groups,
        name=name,
        home=account.pw_dir if account else "",
        shell=account.pw_shell if account else "",
    )


def _gid(group: str) -> int:
    import grp

    if group.isdecimal():
        return _number(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {group}: add it to this system, or mend `group`") from None


def _number(written: str) -> int:
    """The last number means to the kernel that nothing is to change: it would run as root."""
    if len(written) > len(str(_LAST)) or int(written) >= _LAST:
        raise ConfigError(f"{written} is no number of a user or a group: mend `user` or `group`")
    return int(written)


def _allowed(uid: int, gid: int, user: str, group: str) -> None:
    if os.geteuid() != 0 and (uid, gid) != (os.geteuid(), os.getegid()):
        raise ConfigError(f"only root may start it as {user}:{group}: run the supervisor as root, or leave it out")
