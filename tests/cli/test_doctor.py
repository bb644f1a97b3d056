"""Each check is seen to find all well and to find what is wrong, in a real directory."""

import json
import os
import platform
import pwd
import re
import resource
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mainstay.cli.doctor.command import CHECKS, examine, look_at
from mainstay.cli.doctor.host import space
from mainstay.cli.doctor.model import Finding, Project, State, ok
from mainstay.cli.main import main
from mainstay.clock import SystemClock, iso
from mainstay.schema import SCHEMA
from mainstay.storage.migrate import upgrade
from mainstay.turns.tables import HEAD

from .conftest import Project as Typed
from .conftest import free_port

OK, WARNING, FAILED, SKIPPED = State.OK, State.WARNING, State.FAILED, State.SKIPPED
SERVICE = '[apps.feishu-agent]\ncommand = "mainstay serve"\n'
SLEEPER = '["/bin/sh", "-c", "exec sleep 3600"]'

LISTENING = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("listening", flush=True)
    time.sleep(600)
"""

Look = Callable[[str], tuple[State, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PORT", "MAINSTAY_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def look(project: Path) -> Look:
    def look(name: str, root: Path | None = None) -> tuple[State, str]:
        looked = look_at(None, directory=project)
        if root is not None:
            looked = Project(directory=looked.directory, home=looked.home, config=looked.config, root=root)
        found = CHECKS[name](looked)
        return found.state, found.says

    return look


def until(look: Look, name: str, state: State, begins: str) -> None:
    """The check finds that, sooner or later."""
    give_up_at = time.monotonic() + 60
    while (found := look(name))[0] is not state or not found[1].startswith(begins):
        assert time.monotonic() < give_up_at, found
        time.sleep(0.02)


def configure(project: Path, toml: str) -> None:
    (project / "mainstay.toml").write_text(toml)
    (project / "mainstay.toml").chmod(0o600)


def dotenv(project: Path, text: str, mode: int = 0o600) -> None:
    (project / ".env").write_text(text)
    (project / ".env").chmod(mode)


def home(project: Path) -> Path:
    (project / ".mainstay").mkdir(mode=0o700, exist_ok=True)
    return project / ".mainstay"


# the machine


def test_this_machine_is_fit(look: Look) -> None:
    for name in ("python", "kernel", "installation", "disk"):
        assert look(name)[0] is OK, look(name)


def test_a_kernel_without_pidfds_is_seen(look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert look("kernel")[0] is FAILED
    monkeypatch.undo()
    assert look("kernel", tmp_path) == (FAILED, "the supervisor lacks /proc: use Linux 5.4 or newer, with /proc")


def test_a_missing_bot_is_seen(look: Look, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert look("installation") == (FAILED, "`mainstay serve` needs the whole bot: pip install 'mainstay[bot]'")
    configure(project, f"[apps.worker]\ncommand = {SLEEPER}\n")
    assert look("installation")[0] is OK


@pytest.mark.parametrize(
    ("free_bytes", "inodes", "state"),
    [
        (2**40, 10**6, OK),
        (2**40, None, OK),
        (2**30 - 1, 10**6, WARNING),
        (2**40, 19_999, WARNING),
        (200 * 2**20 - 1, 10**6, FAILED),
        (2**40, 999, FAILED),
    ],
)
def test_a_full_disk_is_seen_before_it_is_full(free_bytes: int, inodes: int | None, state: State) -> None:
    assert space("/srv", free_bytes, inodes).state is state


def test_a_small_disk_is_looked_at_where_the_home_is(look: Look, project: Path) -> None:
    mounted = home(project)
    ran = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mounted], capture_output=True)
    if ran.returncode != 0:
        pytest.skip("only root may mount")
    try:
        state, says = look("disk")
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert (state, says.startswith("only 0.0 GiB")) == (FAILED, True)


def test_a_clock_that_was_set_back_is_seen_by_what_was_written_before(look: Look, project: Path) -> None:
    assert look("clock")[0] in (OK, WARNING)
    file = home(project) / "lifecycle.log"
    file.write_text("")
    later = (SystemClock().now() + timedelta(hours=2)).timestamp()
    os.utime(file, (later, later))
    state, says = look("clock")
    assert state is FAILED
    assert re.match(r"lifecycle.log was written (2h|1h59m\d+s) in the future", says)


WITHOUT_THE_CLOCK = """
import ctypes, struct, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
# seccomp(2): adjtimex and clock_adjtime end with EPERM, as in a container that may not ask.
rules = [(0x20, 0, 0, 0), (0x15, 1, 0, 159), (0x15, 0, 1, 305), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(code))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit("no seccomp here")
from mainstay.cli.doctor.host import clock
from mainstay.cli.doctor.model import Project
print(clock(Project(directory=Path("."), home=Path("/nowhere"))).says)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86_64")
def test_a_clock_that_can_not_be_asked_about_is_not_said_to_be_right() -> None:
    child = [sys.executable, "-c", WITHOUT_THE_CLOCK]
    done = subprocess.run(child, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode and "no seccomp" in done.stderr:
        pytest.skip("seccomp can not be used here")
    assert "whether anything keeps it right is not known here" in done.stdout, done.stderr


def test_too_few_open_files_are_seen(look: Look) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        assert look("open-files")[0] is WARNING
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert look("open-files")[0] is (OK if soft >= 1024 else WARNING)


# what was asked for


def test_a_configuration_that_is_wrong_is_said_and_the_rest_is_looked_at(look: Look, project: Path) -> None:
    assert look("configuration") == (OK, "there is no mainstay.toml; the defaults hold")
    configure(project, "[service]\nport = 3001\n")
    assert look("configuration") == (OK, "mainstay.toml: right")
    configure(project, "[service]\nprot = 1\nhost = 3\n")
    state, says = look("configuration")
    assert state is FAILED
    assert says.endswith("did you mean port? (1 more: `mainstay config check`)")
    assert look("database") == (SKIPPED, "the configuration has to be right first")
    assert look("permissions")[0] is SKIPPED
    assert look("python")[0] is OK


def test_variables_that_are_not_there_are_named_and_never_their_values(look: Look, project: Path) -> None:
    toml = '[models.a]\nbase_url = "https://h/v1"\nmodel = "m"\napi_key = "env:KEY_A"\n'
    configure(project, f'{toml}[mcp.x]\nurl = "https://h/mcp"\nheaders = {{ A = "Bearer env:KEY_B" }}\n')
    assert look("environment") == (FAILED, "not set, neither here nor in .env: KEY_A, KEY_B")
    dotenv(project, "KEY_A=hush-a\nKEY_B=hush-b\n")
    assert look("environment") == (OK, "set: KEY_A, KEY_B")


def test_it_is_said_that_nobody_real_is_answered(look: Look, project: Path) -> None:
    state, says = look("credentials")
    assert (state, "the sandbox stands in for models.primary" in says) == (WARNING, True)
    configure(
        project,
        '[models.a]\nprovider = "openai"\nbase_url = "https://h/v1"\nmodel = "m"\napi_key = "x"\n'
        '[channels.feishu]\napp_id = "cli_a"\napp_secret = "s"\nencrypt_key = "k"\nverification_token = "t"\n',
    )
    state, says = look("credentials")
    assert (state, says) == (OK, "for a, feishu; whether they are accepted was not tried")


def test_keys_that_others_can_read_are_seen(look: Look, project: Path) -> None:
    assert look("secrets")[0] is OK
    dotenv(project, "A=b\n", 0o640)
    assert look("secrets") == (FAILED, f".env can be read by others (mode 0640): chmod 600 {project}/.env")
    (project / ".env").chmod(0o600)
    assert look("secrets") == (OK, "only their owner reads .env")
    configure(project, '[models.a]\nbase_url = "https://h/v1"\nmodel = "m"\napi_key = "hush-hush"\n')
    state, says = look("secrets")
    assert (state, says.startswith("models.a.api_key: written out")) == (WARNING, True)
    (project / "mainstay.toml").chmod(0o644)
    state, says = look("secrets")
    assert (state, says.startswith("models.a.api_key is written out in a file that others can")) == (FAILED, True)
    assert "hush-hush" not in says


def test_keys_in_version_control_are_seen(look: Look, project: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=project, check=True, capture_output=True)

    git("init")
    dotenv(project, "A=b\n")
    assert look("secrets") == (WARNING, ".env is not in .gitignore: it might be committed one day")
    git("add", ".env")
    state, says = look("secrets")
    assert (state, says.startswith(".env is in version control")) == (FAILED, True)
    git("rm", "--cached", ".env")
    (project / ".gitignore").write_text(".env\n")
    assert look("secrets") == (OK, "only their owner reads .env")


@pytest.mark.parametrize("name", ["", "tokens.json", "mainstay.db"])
def test_a_home_that_others_can_open_is_seen(look: Look, project: Path, name: str) -> None:
    assert look("permissions")[0] is SKIPPED
    for each in ("tokens.json", "mainstay.db"):
        (home(project) / each).touch(mode=0o600)
    assert look("permissions")[0] is OK
    opened = home(project) / name
    opened.chmod(0o755 if not name else 0o644)
    state, says = look("permissions")
    assert (state, says.startswith(f"{opened} can be opened by others")) == (FAILED, True)


# what is kept


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("empty") / "mainstay.db"
    upgrade(f"sqlite:///{path}", SCHEMA)
    return path.read_bytes()


def put(project: Path, content: bytes) -> Path:
    path = home(project) / "mainstay.db"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def revise(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE alembic_version SET version_num = ? WHERE version_num LIKE 'turns%'", (revision,)
        )


def test_the_database_is_whole_and_of_this_version_or_it_is_said(look: Look, project: Path, empty: bytes) -> None:
    assert look("database")[0] is WARNING
    path = put(project, empty)
    assert look("database")[0] is OK
    revise(path, "turns_0001")
    state, says = look("database")
    assert (state, f"run `mainstay migrate` ({HEAD})" in says) == (FAILED, True)
    revise(path, "turns_9999")
    state, says = look("database")
    assert (state, "newer version of this program (turns_9999)" in says) == (FAILED, True)
    put(project, empty[:8192] + os.urandom(len(empty) - 8192))
    state, says = look("database")
    assert (state, "damaged" in says) == (FAILED, True)
    put(project, b"no database " * 500)
    assert look("database")[0] is FAILED
    path.unlink()
    configure(project, f"[apps.worker]\ncommand = {SLEEPER}\n")
    assert look("database") == (SKIPPED, "no app needs it")


def test_a_backup_that_is_missing_or_old_is_seen(
    look: Look, project: Path, empty: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look("backup")[0] is SKIPPED
    put(project, empty)
    assert look("backup")[0] is WARNING
    monkeypatch.chdir(project)
    assert main(["backup", "b.db"]) == 0
    assert look("backup")[0] is OK
    record = home(project) / "backup.json"
    last = json.loads(record.read_text())
    record.write_text(json.dumps({**last, "at": iso(SystemClock().now() - timedelta(hours=25))}))
    state, says = look("backup")
    assert (state, re.match(r"the last one is 1d1h\d*s? old: ", says) is not None) == (WARNING, True), says
    record.write_text(json.dumps(last))
    (project / "b.db").write_bytes(b"cut short")
    state, says = look("backup")
    assert (state, "is damaged" in says) == (FAILED, True)
    (project / "b.db").unlink()
    state, says = look("backup")
    assert (state, "is not there now" in says) == (WARNING, True)
    record.write_text("{")
    assert look("backup")[0] is FAILED


# the service


@contextmanager
def answering(port: int, status: int) -> Iterator[None]:
    """Something on that port, of this very process."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_a_port_is_free_or_ours_or_its_owner_is_named(
    look: Look, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    configure(project, f"[service]\nport = {port}\n{SERVICE}")
    assert look("port") == (OK, f"port {port} on 127.0.0.1 is free")
    with answering(port, 200):
        state, says = look("port")
        assert (state, f"is taken by process {os.getpid()} (" in says) == (FAILED, True)
        monkeypatch.chdir(project)
        assert look("port")[0] is FAILED  # another program that is started here is not the service
    words = [sys.executable, "-c", LISTENING, str(port), "mainstay", "serve"]
    with subprocess.Popen(words, cwd=project, stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        service.stdout.readline()
        state, says = look("port")
        service.kill()
        assert (state, "this project's service" in says) == (OK, True)
    configure(project, f'[service]\nport = {port}\nhost = "192.0.2.1"\n{SERVICE}')
    assert look("port")[0] is FAILED
    configure(project, f"[service]\nport = 0\n{SERVICE}")
    assert look("port")[0] is SKIPPED


def test_probes_are_asked_and_what_they_say_is_believed(look: Look, project: Path) -> None:
    port = free_port()
    configure(project, f"[service]\nport = {port}\n{SERVICE}")
    assert look("probes") == (SKIPPED, "the service does not run")
    with answering(port, 200):
        assert look("probes")[0] is OK
    with answering(port, 503):
        state, says = look("probes")
        assert (state, says.startswith("/health answers 503 at")) == (FAILED, True)
    with socket.create_server(("127.0.0.1", port)) as silent:
        silent.listen()
        state, says = look("probes")
        assert (state, "does not answer (TimeoutError): it may hang" in says) == (FAILED, True)
    configure(project, f"[service]\nport = 0\n{SERVICE}")
    assert (look("port")[0], look("probes")[0]) == (SKIPPED, SKIPPED)


def test_an_address_that_others_reach_without_tls_is_seen(look: Look, project: Path) -> None:
    assert look("access")[0] is OK
    configure(project, '[service]\nhost = "0.0.0.0"\n')
    state, says = look("access")
    assert (state, "without TLS" in says) == (WARNING, True)


def test_nothing_is_claimed_about_what_does_not_exist_yet(look: Look, project: Path) -> None:
    assert look("alerts")[0] is WARNING
    assert look("devtools")[0] is SKIPPED
    configure(project, "[service]\ndevtools = true\n")
    assert look("devtools")[0] is WARNING


# what keeps it running


def test_a_port_that_the_supervisor_holds_for_the_service_is_ours(look: Look, project: Path) -> None:
    port = free_port()
    held = f'[apps.held]\ncommand = {SLEEPER}\nlisten = ["127.0.0.1:{port}"]\n'
    configure(project, f"[service]\nport = {port}\n{SERVICE}{held}")
    typed = Typed(project, port)
    try:
        assert typed.run("start", "held").returncode == 0
        lines = (home(project) / "lifecycle.log").read_text().splitlines()
        os.kill(next(each["pid"] for each in map(json.loads, lines) if each["what"] == "daemon"), 9)
        assert typed.run("start", "held").returncode == 0  # now the keeper comes first among who holds it
        state, says = look("port")
        assert (state, says.endswith("this project's service")) == (OK, True), says
    finally:
        assert typed.run("kill").returncode == 0


def test_the_supervisor_and_its_apps_are_looked_at(look: Look, project: Path) -> None:
    typed = Typed(project, free_port())
    configure(project, f"[apps.web]\ncommand = {SLEEPER}\n")
    assert (look("supervisor")[0], look("apps")[0]) == (WARNING, SKIPPED)
    try:
        assert typed.run("start").returncode == 0
        assert look("supervisor") == (OK, "it runs, and keeps 1 instance")
        assert look("apps") == (OK, "web:0 ready")
        configure(project, f'[apps.web]\ncommand = {SLEEPER}\n[apps.bad]\ncommand = "false"\nmax_restarts = 0\n')
        assert look("apps") == (WARNING, "bad:0: configured since; `mainstay start` takes it up")
        typed.run("start")
        until(look, "apps", FAILED, "given up: bad:0: ")
        lines = (home(project) / "lifecycle.log").read_text().splitlines()
        daemon = next(each for each in map(json.loads, lines) if each["what"] == "daemon")
        os.kill(daemon["pid"], 9)
        until(look, "supervisor", FAILED, "it does not run, and did not end its apps: it has ended")
    finally:
        assert typed.run("start", "web").returncode == 0  # what the killed one has left is its successor's
        assert typed.run("kill").returncode == 0
    assert look("supervisor")[0] is WARNING


def test_an_app_that_waits_for_its_next_start_is_seen(look: Look, project: Path) -> None:
    typed = Typed(project, free_port())
    configure(project, '[apps.bad]\ncommand = "false"\nrestart_delay = "1h"\n')
    try:
        typed.run("start")
        until(look, "apps", WARNING, "bad:0 is in backoff: ")
    finally:
        typed.run("kill")


def test_a_limit_of_memory_is_there_and_can_be_kept(look: Look, project: Path, tmp_path: Path) -> None:
    assert look("memory")[0] is OK
    configure(project, SERVICE)
    assert look("memory")[0] is WARNING
    configure(project, f'{SERVICE}memory_limit = "900GiB"\n')
    state, says = look("memory")
    assert (state, "the kernel would end it" in says) == (WARNING, True)
    configure(project, f'{SERVICE}memory_limit = "100MiB"\n')
    assert look("memory")[0] is OK
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/small.service\n")
    (tmp_path / "sys/fs/cgroup/small.service").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/small.service/memory.max").write_text("50000000\n")
    assert look("memory", tmp_path)[0] is WARNING
    configure(project, f"[apps.worker]\ncommand = {SLEEPER}\n")
    assert look("memory")[0] is SKIPPED


def test_logs_that_can_not_be_written_are_seen(look: Look, project: Path) -> None:
    assert look("logs")[0] is OK
    configure(project, f'{SERVICE}out_file = "taken/out.log"\n')
    (project / "taken").write_text("a file where a directory should be")
    state, says = look("logs")
    assert (state, says.startswith(f"{project}/taken/out.log can not be written")) == (FAILED, True)


UNIT = "[Service]\nWorkingDirectory={}\nExecStart=mainstay run\n"


def test_a_unit_that_starts_the_project_is_found_and_has_to_be_switched_on(
    look: Look, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project / "root"
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(root / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert look("startup", root)[0] is SKIPPED
    (root / "run/systemd/system").mkdir(parents=True)
    (units / "other.service").write_text(UNIT.format("/srv/other"))
    assert look("startup", root) == (WARNING, "nothing starts it with the machine: run `mainstay startup`")
    backup = UNIT.format(project).replace("mainstay run", f"{project}/.venv/bin/mainstay backup --keep 14")
    (units / "bot-backup.service").write_text(backup)
    assert look("startup", root) == (WARNING, "nothing starts it with the machine: run `mainstay startup`")
    (units / "mainstay-bot.service").write_text(UNIT.format(project))
    state, says = look("startup", root)
    assert (state, says.endswith("systemctl enable mainstay-bot.service")) == (FAILED, True)
    (units / "multi-user.target.wants").mkdir()
    link = units / "multi-user.target.wants/mainstay-bot.service"
    link.symlink_to(units / "mainstay-bot.service")
    assert look("startup", root)[0] is OK
    packaged = root / "usr/lib/systemd/system"
    packaged.mkdir(parents=True)
    link.unlink()
    link.symlink_to((units / "mainstay-bot.service").rename(packaged / "mainstay-bot.service"))
    assert look("startup", root)[0] is OK


def test_a_users_own_unit_needs_somebody_to_linger(
    look: Look, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project / "root"
    units = root / "home/.config/systemd/user"
    (units / "default.target.wants").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(root / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (units / "mainstay-bot.service").write_text(UNIT.format(project))
    (units / "default.target.wants/mainstay-bot.service").symlink_to(units / "mainstay-bot.service")
    state, says = look("startup", root)
    assert (state, "loginctl enable-linger" in says) == (FAILED, True)
    (root / "var/lib/systemd/linger").mkdir(parents=True)
    (root / "var/lib/systemd/linger" / pwd.getpwuid(os.geteuid()).pw_name).touch()
    assert look("startup", root)[0] is OK


# the doctor


def test_a_check_that_breaks_or_hangs_is_one_line_and_the_others_are_answered(project: Path) -> None:
    release = threading.Event()

    def breaks(_: Project) -> Finding:
        raise ValueError("two\nlines, token=abcdefgh12345")

    def hangs(_: Project) -> Finding:
        release.wait(60)
        return ok("late")

    looked = look_at(None, directory=project)
    checks = {"breaks": breaks, "hangs": hangs, "python": CHECKS["python"]}
    found = examine(looked, checks, within_s=0.2)
    release.set()
    assert found["breaks"].says == "could not be checked: ValueError: two lines, token=***"
    assert found["hangs"].says == "could not be checked: it has not ended within 200ms"
    assert [each.state for each in found.values()] == [FAILED, FAILED, OK]


def test_it_works_where_nothing_is_and_writes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = Typed(project, free_port())
    ran = typed.run("doctor", "--json")
    answer = json.loads(ran.stdout)
    assert (ran.returncode, answer["ok"]) == (0, True)
    assert [each["name"] for each in answer["checks"]] == list(CHECKS)
    assert list(project.iterdir()) == []


def test_it_fails_when_a_check_does_and_only_those_that_were_named_are_made(project: Path) -> None:
    typed = Typed(project, free_port())
    dotenv(project, "A=b\n", 0o644)
    ran = typed.run("doctor", "secrets", "python")
    assert ran.returncode == 1
    assert [line.split()[:2] for line in ran.stdout.splitlines()[1:]] == [["python", "ok"], ["secrets", "failed"]]
    assert typed.run("doctor", "python").returncode == 0
    wrong = typed.run("doctor", "kerneli")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "mainstay: there is no check kerneli; did you mean kernel?\n",
    )
