"""``mainstay chat`` talks to the agents of the running service, in a terminal and in a pipe."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from tests.channels.conftest import DEADLINE_S, Running
from tests.cli.emulator import Terminal

from mainstay.channels.console.model import ConsoleSettings
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Turn
from mainstay.web.access import load_tokens

from .conftest import BARE, Project


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest) -> None:
    if "service" in request.fixturenames:
        request.getfixturevalue("service").quick("fault", "clear")


@pytest.fixture
def terminal(service: Project) -> Iterator[Terminal]:
    command = [sys.executable, "-m", "mainstay", "chat", "-c", "terminal"]
    env = BARE | {"PORT": str(service.port), "TERM": "xterm", "NO_COLOR": "1", "INPUTRC": "/dev/null"}
    made = Terminal(command, cwd=service.path, env=env)
    yield made
    made.close()


def piped(service: Project, text: str, *typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mainstay", "chat", *typed],
        cwd=service.path,
        env=BARE | {"PORT": str(service.port)},
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
    )


def prompted(terminal: Terminal) -> None:
    terminal.until(lambda rows: [row for row in rows if row][-1:] == [">"])


def test_words_are_said_and_answered_and_that_is_all(service: Project) -> None:
    done = service.run("chat", "how", "are", "you")
    assert done.returncode == 0, done.stderr
    assert "how are you" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.startswith("manager answered with model primary in ")


def test_what_is_piped_in_is_one_message(service: Project) -> None:
    done = piped(service, "first line\nsecond line\n", "--json", "-c", "piped")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["outcome"], outcome["conversation"], outcome["agent"]) == ("answered", "piped", "manager")
    assert "first line second line" in outcome["text"]
    assert piped(service, " \n").returncode == 2


def test_what_is_no_text_is_refused_in_one_line(service: Project) -> None:
    done = piped(service, "\udce9t\udce9\n")
    assert done.returncode == 2
    assert done.stderr == "mainstay: chat: what is said is no text: write it in UTF-8\n"


def test_whoever_reads_only_the_beginning_is_told_nothing_more(service: Project) -> None:
    command = [sys.executable, "-m", "mainstay", "chat", "write", "me", "a", "long", "answer"]
    with subprocess.Popen(
        command,
        cwd=service.path,
        env=BARE | {"PORT": str(service.port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_a_conversation_goes_on_where_it_was_and_others_are_not_in_it(service: Project) -> None:
    assert service.quick("chat", "-c", "one", "a plum").returncode == 0
    assert "a plum" in service.quick("chat", "-c", "one", "and?").stdout
    assert "a plum" not in service.quick("chat", "-c", "two", "and?").stdout


def test_a_failure_is_shown_and_is_code_1(service: Project) -> None:
    service.quick("fault", "auth")
    done = service.quick("chat", "--json", "hello")
    assert done.returncode == 1
    outcome = json.loads(done.stdout)
    assert (outcome["outcome"], bool(outcome["notice"])) == ("failed", True)


def test_without_a_service_it_says_what_to_start_and_is_code_3(project: Project) -> None:
    done = project.quick("chat", "hello")
    assert done.returncode == 3
    assert done.stderr.startswith("mainstay: no service has run for ")
    (project.path / ".mainstay").mkdir(mode=0o700)
    tokens = project.path / ".mainstay" / "tokens.json"
    tokens.touch(mode=0o600)
    tokens.write_text(json.dumps({"viewer": "v" * 40, "operator": "o" * 40}))
    done = project.quick("chat", "hello")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("mainstay: no service runs at http://127.0.0.1:")
    assert done.stderr.count("\n") == 1


def test_the_token_of_another_directory_is_told(service: Project, project: Project) -> None:
    home = project.path / ".mainstay"
    home.mkdir(mode=0o700)
    (home / "tokens.json").touch(mode=0o600)
    (home / "tokens.json").write_text(json.dumps({"viewer": "v" * 40, "operator": "o" * 40}))
    done = project.quick("chat", "hello", PORT=str(service.port))
    assert done.returncode == 2
    assert "does the service there belong to another directory?" in done.stderr


def test_on_a_terminal_it_is_a_conversation_which_ctrl_d_ends(terminal: Terminal) -> None:
    terminal.sees(">")
    terminal.press("review my OKR\n")
    terminal.sees("okr answered with model primary in")
    terminal.press("and now?\n")
    terminal.sees("You wrote: “and now?”. Before that")
    prompted(terminal)
    terminal.press("\x04")
    assert terminal.wait() == 0


def test_several_lines_that_are_pasted_are_one_message(terminal: Terminal) -> None:
    prompted(terminal)
    terminal.press("\x1b[200~a plum\nand a pear\x1b[201~\n")
    terminal.sees("You wrote: “a plum and a pear”")
    prompted(terminal)


def test_ctrl_c_takes_back_the_answer_and_not_the_conversation(service: Project, terminal: Terminal) -> None:
    service.quick("fault", "hang")
    terminal.sees(">")
    terminal.press("hello\n")
    terminal.sees("…")
    terminal.process.send_signal(signal.SIGINT)
    terminal.sees("taken back in")
    service.quick("fault", "clear")
    terminal.press("again\n")
    terminal.sees("answered with")
    prompted(terminal)
    assert terminal.interrupted() == 130


def test_a_failure_is_tried_again_when_that_is_asked_for(service: Project, terminal: Terminal) -> None:
    terminal.sees(">")
    terminal.press("/retry\n")
    terminal.sees("nothing has failed")
    service.quick("fault", "server-error")
    terminal.press("hello\n")
    terminal.sees("/retry has it tried again")
    service.quick("fault", "clear")
    terminal.press("/retry\n")
    terminal.sees("You wrote: “hello”")
    prompted(terminal)
    terminal.press("/retry\n")
    terminal.sees("nothing has failed")  # the screen was cleared since it was there before


async def saying_hello(home: Path, port: int) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "mainstay", "chat", "hello"]
    env = BARE | {"PORT": str(port), "MAINSTAY_HOME": str(home)}
    return await asyncio.create_subprocess_exec(*command, cwd=home, env=env, stderr=asyncio.subprocess.PIPE)


@pytest.mark.anyio
async def test_who_presses_ctrl_c_twice_leaves_also_where_nothing_answers(tmp_path: Path) -> None:
    load_tokens(tmp_path)
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def hung(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait((await reader.readuntil(b"\r\n\r\n")).split()[0])
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hung, "127.0.0.1") as server, asyncio.timeout(DEADLINE_S):
        process = await saying_hello(tmp_path, server.sockets[0].getsockname()[1])
        try:
            for method in (b"POST", b"DELETE"):
                assert await asked.get() == method
                process.send_signal(signal.SIGINT)
            _, errors = await process.communicate()
        except BaseException:
            process.kill()
            raise
        assert (process.returncode, errors) == (130, b"left; it may be answered all the same\n")


@pytest.mark.anyio
async def test_what_is_cancelled_while_the_service_is_away_is_taken_back_when_it_is_there_again(
    tmp_path: Path,
) -> None:
    async def script(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        await asyncio.Event().wait()
        yield Finished(outcome=Outcome.ANSWERED)

    asked: asyncio.Queue[bytes] = asyncio.Queue()
    there = asyncio.Event()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes everything on, or hangs up on whoever asks for something while the service is away."""
        head = await reader.readuntil(b"\r\n\r\n")
        if not there.is_set():
            asked.put_nowait(head.split()[0])
            writer.close()
            return
        from_service, to_service = await asyncio.open_connection("127.0.0.1", here.port)
        to_service.write(head)
        async with asyncio.TaskGroup() as both:
            both.create_task(passed_on(reader, to_service))
            both.create_task(passed_on(from_service, writer))

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with (
        Running(tmp_path, {"console": ConsoleSettings()}, script) as here,
        await asyncio.start_server(between, "127.0.0.1") as server,
        asyncio.timeout(2 * DEADLINE_S),
    ):
        port = server.sockets[0].getsockname()[1]
        process = await saying_hello(tmp_path, port)
        try:
            assert await asked.get() == b"POST"
            process.send_signal(signal.SIGINT)
            while await asked.get() != b"DELETE":
                pass
            there.set()
            _, errors = await process.communicate()
        except BaseException:
            process.kill()
            raise
        assert errors.startswith(b"taken back in ")
        assert process.returncode == 130
