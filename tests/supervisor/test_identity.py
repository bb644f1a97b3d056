"""An app runs as who it is to run as, and never as anybody else."""

import asyncio
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.supervisor.project import DEADLINE_S, Supervised

from mainstay.errors import ConfigError
from mainstay.supervisor.identity import identity
from mainstay.supervisor.notify import abroad, listening_abroad

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start something as somebody else")
WHO = """
exec > /dev/stdout
grep -E '^(Uid|Gid|Groups|Umask):' /proc/self/status
echo "$HOME $USER $LOGNAME $SHELL $PWD $NOTIFY_SOCKET"
exec sleep 600
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    yield made
    made.run("kill", code=None)


@as_root
def test_it_is_the_user_with_the_user_s_groups_and_surroundings(home: Supervised) -> None:
    home.configure(web={"command": ["sh", "-c", WHO], "user": "nobody", "umask": "027", "cwd": "/"})
    home.run("start")
    log = home.directory / ".mainstay" / "logs" / "web-0.out.log"
    home.until(lambda _: log.exists() and log.read_text().count("\n") == 5)
    *status, environ = log.read_text().splitlines()
    assert {line.split()[0]: line.split()[1:] for line in status} == {
        "Umask:": ["0027"],
        "Uid:": [str(NOBODY.pw_uid)] * 4,
        "Gid:": [str(NOBODY.pw_gid)] * 4,
        "Groups:": [str(group) for group in sorted(os.getgrouplist("nobody", NOBODY.pw_gid))],
    }
    name = f"@{abroad(home.directory / '.mainstay')}"
    assert environ == f"{NOBODY.pw_dir} nobody nobody {NOBODY.pw_shell} / {name}"


@as_root
@pytest.mark.anyio
async def test_it_is_heard_although_it_may_not_enter_the_home(tmp_path: Path) -> None:
    heard: asyncio.Queue[tuple[int, dict[str, str]]] = asyncio.Queue()
    program = (
        "import os\n"
        "from mainstay.notify import Notifier\n"
        f"os.setgid({NOBODY.pw_gid}); os.setuid({NOBODY.pw_uid})\n"
        "Notifier().say('READY=1')"
    )
    with listening_abroad(tmp_path, lambda pid, said: heard.put_nowait((pid, said))):
        environ = {**os.environ, "NOTIFY_SOCKET": f"@{abroad(tmp_path)}"}
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environ)
        async with asyncio.timeout(DEADLINE_S):
            assert await heard.get() == (child.pid, {"READY": "1"})
            assert await child.wait() == 0


@as_root
def test_a_number_will_do_and_a_directory_that_it_may_not_enter_is_said_to_be_one(home: Supervised) -> None:
    closed = home.directory / "closed"
    closed.mkdir(mode=0o700)
    home.configure(
        number={"command": ["sleep", "600"], "user": "12345", "group": "54321", "cwd": "/"},
        closed={"command": "true", "user": "12345", "group": "54321", "cwd": str(closed), "max_restarts": 0},
    )
    home.run("start", code=None)
    found = home.instances()
    status = Path(f"/proc/{found['number:0']['pid']}/status").read_text()
    assert "Uid:\t12345\t12345\t12345\t12345\n" in status
    assert "Gid:\t54321\t54321\t54321\t54321\n" in status
    assert "Groups:\t54321 \n" in status
    assert f"its directory {closed} can not be used (Permission denied)" in found["closed:0"]["detail"]


@as_root
def test_who_is_not_root_starts_nobody_as_somebody_else() -> None:
    program = (
        "import os, pwd\n"
        "from mainstay.supervisor.identity import identity\n"
        f"os.setgid({NOBODY.pw_gid}); os.setuid({NOBODY.pw_uid})\n"
        "print(identity('nobody', '').uid)\n"
        "identity('root', '')"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S)
    assert told.stdout == f"{NOBODY.pw_uid}\n"
    assert "only root may start it as root:0: run the supervisor as root" in told.stderr


def test_who_is_not_known_is_said_in_one_line() -> None:
    with pytest.raises(ConfigError, match="there is no user no_such_user: add it"):
        identity("no_such_user", "")
    with pytest.raises(ConfigError, match="there is no group no_such_group: add it"):
        identity("", "no_such_group")
    with pytest.raises(ConfigError, match="user 2999999 is in no list of this system, so `group`"):
        identity("2999999", "")
    assert identity("", "") is None


@pytest.mark.parametrize(("user", "group"), [("4294967295", "1"), ("1", "4294967295"), ("1", "9" * 5000)])
def test_a_number_that_would_leave_it_as_root_is_refused(user: str, group: str) -> None:
    with pytest.raises(ConfigError, match="is no number of a user or a group"):
        identity(user, group)


def test_what_is_no_name_is_refused_by_the_configuration(home: Supervised) -> None:
    for settings, what in (
        ({"user": "a b"}, "is not a user"),
        ({"umask": "9"}, "is not a umask"),
        ({"umask": 18}, "umask"),
    ):
        home.configure(web={"command": "true", **settings})
        refused = home.run("config", "check", code=2)
        assert what in refused.stderr + refused.stdout
