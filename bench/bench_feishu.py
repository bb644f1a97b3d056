"""What does the Feishu channel cost its tenant?"""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from bench.harness import Row, Table
from bench.running import SERVE, STARTUPZ, answered, made_project, port_of, running, settled

from mainstay.channels.feishu.governor.quota import month_of
from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import SaidMessage, SandboxAddress

ROUNDS = 2
SECONDS = (1, 20, 60)
SPEAKER = """
import asyncio
from mainstay.messages import Finished, Outcome, TextAppended

class Speaker:
    name = "speaker"

    async def respond(self, message, turn):
        text = ""
        for number in range(60 * int(message.text)):
            text += f"{number} "
            yield TextAppended(f"{number} ")
            await asyncio.sleep(1 / 60)
        yield Finished(outcome=Outcome.ANSWERED, text=text, agent=self.name)
"""
"""Says 60 words a second, for as many seconds as it is asked to."""


def tables() -> Iterator[Table]:
    usual: dict[int, list[float]] = {}
    short: dict[int, list[float]] = {}
    for _ in range(ROUNDS):
        for found, used in ((usual, 0), (short, 8000)):
            for seconds, calls in asyncio.run(calls_per_answer(used)).items():
                found.setdefault(seconds, []).append(calls)
    yield Table(
        title="Calls of the platform's API for one answer",
        unit="",
        rows=[
            *(Row(label=f"an answer of {seconds} s", values=values) for seconds, values in usual.items()),
            *(
                Row(label=f"the same of {seconds} s, calls run short", values=values)
                for seconds, values in short.items()
            ),
        ],
        notes=[
            "One card made, one message sent, the updates, and the outcome; tokens are free and not counted.",
            "Settings as they are by default. Short: 8000 of the month's 10000 are used when the service starts.",
        ],
    )


async def calls_per_answer(used: int) -> dict[int, float]:
    """By the length of the answer; three answers at once, in chats of their own."""
    async with made_project() as made:
        (made.directory / "bench_speaker.py").write_text(SPEAKER)
        file = made.directory / "mainstay.toml"
        text = file.read_text().replace("[service]\n", '[service]\nresponder = "bench_speaker:Speaker"\n')
        file.write_text(f"{text}monthly_quota = {10_000 if used else 0}\n")
        remember(made.directory, made.sandbox.address, used)
        async with running(made.directory, SERVE):
            await answered(port_of(made), STARTUPZ, 0.0)
            await made.sandbox.subscribe(f"{made.url}/webhook/event", f"{made.url}/webhook/card")
            said = [await made.sandbox.say(str(seconds), sender=f"ou_{seconds}") for seconds in SECONDS]
            await settled(made.sandbox, len(said))
        return {int(message.text): await calls_for(made.sandbox, message) for message in said}


def remember(directory: Path, address: SandboxAddress, used: int) -> None:
    """As if so many calls had been made this month."""
    month = month_of(datetime.now(UTC))
    with closing(sqlite3.connect(directory / ".mainstay" / "mainstay.db")) as database, database:
        values = (address.app_id, month, used)
        database.execute("INSERT INTO feishu_calls (app_id, month, used) VALUES (?, ?, ?)", values)


async def calls_for(sandbox: SandboxClient, message: SaidMessage) -> float:
    """The calls that this message's one card has taken, its making included."""
    record = await sandbox.record()
    [reply] = next(each.replies for each in record.messages if each.message_id == message.message_id)
    of_card = [call for call in await sandbox.calls() if f"/{reply.card_id}" in f"{call['path']}/"]
    return 2.0 + len(of_card)
