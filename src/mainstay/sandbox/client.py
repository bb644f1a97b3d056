"""How does a program talk to a sandbox?

The command line, the service and the tests hold a `SandboxClient`; it holds the one address and one connection
pool, and turns every refusal into a `SandboxError`.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import httpx2

from mainstay.certificates import trusted
from mainstay.errors import MainstayError
from mainstay.sandbox.model import ConnectionSeen, Delivery, Reply, SaidMessage, SandboxAddress, Snapshot, Verdict

__all__ = ["Record", "SandboxClient", "SandboxError"]

_TIMEOUT_S = 15.0
_POLL_S = 20.0


class SandboxError(MainstayError):
    """The sandbox is not there, or refused; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything that was said and shown.

    Attributes:
        messages: what people said, oldest first, with all that came of each.
        unprompted: what the bot said without replying to anybody.
    """

    messages: tuple[Snapshot, ...]
    unprompted: tuple[Reply, ...]


class SandboxClient:
    """An async context manager; or call `close`."""

    def __init__(self, address: SandboxAddress) -> None:
        self.address = address
        headers = {"Authorization": f"Bearer {address.control_token}"}
        self._http = httpx2.AsyncClient(
            base_url=address.control_url, headers=headers, timeout=_TIMEOUT_S, verify=trusted(), trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def subscribe(self, url: str, card_url: str = "") -> None:
        """Send events to this webhook from now on. Raises SandboxError when it does not pass the challenge."""
        await self._post("subscribe", url=url, card_url=card_url)

    async def subscribe_by_connection(self) -> None:
        """Send events to the bot's long connections from now on, and to no webhook."""
        await self._post("subscribe-by-connection")

    async def say(
        self,
        text: str,
        *,
        chat: str = "",
        sender: str = "ou_u1",
        chat_type: Literal["p2p", "group"] = "p2p",
        thread: str = "",
        mention: bool = True,
        mentions: Sequence[str] = (),
        message_id: str = "",
        event_id: str = "",
        schema: Literal["1.0", "2.0"] = "2.0",
        msg_type: str = "text",
        content: dict[str, Any] | None = None,
        topic: bool = False,
        forwards: Sequence[str] = (),
        by_app: bool = False,
    ) -> SaidMessage:
        """Say something to the bot; returns when the platform has it, which is before the bot has it.

        Args:
            text: what is said.
            chat_type: of the chat, when it is a new one, or no id is given.
            chat: its id; empty for the sender's private chat, or the one group. Unknown ones come into being.
            sender: the open_id of who speaks.
            thread: a thread's id, or the id of a message to reply to.
            mention: in a group: whether the bot is mentioned.
            mentions: the open_ids of others who are mentioned, or ``"all"`` for everybody.
            message_id: to be given this id rather than a fresh one.
            event_id: the same for the event.
            schema: of the event.
            msg_type: the platform's type of message; of another one than text ``content`` is what it writes.
            content: see ``msg_type``.
            topic: whether the message opens a topic, as in a topic group.
            forwards: the ids of messages that are forwarded, all in one.
            by_app: whether the sender is a bot.
        """
        said = await self._post(
            "say",
            text=text,
            chat=chat,
            sender=sender,
            chat_type=chat_type,
            thread=thread,
            mention=mention,
            mentions=list(mentions),
            message_id=message_id,
            event_id=event_id,
            schema=schema,
            msg_type=msg_type,
            content=content,
            topic=topic,
            forwards=list(forwards),
            by_app=by_app,
        )
        return SaidMessage(**said)

    async def deliver_again(self, message_id: str, *, new_event_id: bool = False) -> str:
        """Deliver a message once more, byte for byte or as a new event; returns the event_id."""
        return str(
            (await self._post("deliver-again", message_id=message_id, new_event_id=new_event_id))["event_id"]
        )

    async def recall(self, message_id: str) -> None:
        """Take back what was said."""
        await self._post("recall", message_id=message_id)

    async def edit(self, message_id: str, text: str, *, mentions: Sequence[str] | None = None) -> None:
        """Change what was said, and whom it mentions, if that changes; ``"bot"`` is the bot."""
        await self._post("edit", message_id=message_id, text=text, mentions=mentions and list(mentions))

    async def enter(self, sender: str = "ou_u1") -> str:
        """Open the private chat of a person with the bot; returns the event_id."""
        return str((await self._post("enter", sender=sender))["event_id"])

    async def add_bot(self, chat: str = "", *, sender: str = "ou_u1") -> str:
        """Add the bot to a group; returns the event_id."""
        return str((await self._post("add-bot", chat=chat, sender=sender))["event_id"])

    async def press(
        self, message_id: str, label: str, *, user: str = "ou_u1", schema: Literal["1.0", "2.0"] = "2.0"
    ) -> tuple[int, Any]:
        """Press the button of that label on a card of the bot, as a person does; see `click`.

        Raises SandboxError when the card has no such button.
        """
        given = await self._post("click", message_id=message_id, label=label, user=user, schema=schema)
        return given["status"], given["answer"]

    async def click(
        self,
        message_id: str,
        action: dict[str, Any],
        *,
        user: str = "ou_u1",
        event_id: str = "",
        schema: Literal["1.0", "2.0"] = "2.0",
    ) -> tuple[int, Any]:
        """Send the bot a press, whatever it carries; returns the HTTP status (0: none in 3 s) and the answer."""
        given = await self._post(
            "click", message_id=message_id, action=action, user=user, event_id=event_id, schema=schema
        )
        return given["status"], given["answer"]

    async def watch(self, message_id: str) -> AsyncGenerator[Snapshot, None]:
        """Yield a snapshot at each change; ends with the first that is final."""
        after = 0
        while True:
            snapshot = Snapshot.from_dict(
                await self._get(f"watch/{message_id}", after=str(after), wait_s=str(_POLL_S))
            )
            if snapshot.revision > after or snapshot.final:
                after = snapshot.revision
                yield snapshot
            if snapshot.final:
                return

    async def record(self) -> Record:
        """Everything that was said and shown, with its history."""
        given = await self._get("record")
        return Record(
            messages=tuple(Snapshot.from_dict(each) for each in given["messages"]),
            unprompted=tuple(Reply.from_dict(each) for each in given["unprompted"]),
        )

    async def outcomes(self) -> list[Verdict]:
        """The judgement on every message, oldest first, each with those on the buttons pressed on its answers."""
        return [Verdict.from_dict(each) for each in await self._get("outcomes")]

    async def deliveries(self) -> list[Delivery]:
        """What became of every event, oldest first."""
        return [Delivery.from_dict(each) for each in await self._get("deliveries")]

    async def connections(self) -> list[ConnectionSeen]:
        """Every long connection that was made, oldest first, with what went over it."""
        return [ConnectionSeen.from_dict(each) for each in await self._get("connections")]

    async def calls(self) -> list[dict[str, Any]]:
        """Every call of the platform's API: at_s, method, path, status, code; oldest first."""
        return list(await self._get("calls"))

    async def models(self, *, last: int = 1000) -> dict[str, Any]:
        """What each pretended model was asked, by its name, with its last calls; see `ProviderRecord.as_json`."""
        return dict(await self._get("models", last=str(last)))

    async def state(self) -> dict[str, Any]:
        """The webhook, the owner, the options and the faults that are in force."""
        return dict(await self._get("state"))

    async def fault(
        self,
        name: str,
        *,
        model: str = "",
        times: int | None = None,
        for_s: float | None = None,
        **details: Any,  # noqa: ANN401  the keywords of `FaultPlan.inject`
    ) -> None:
        """Let a model misbehave, by its name, or empty for all of them; see `FaultPlan.inject`."""
        await self._post("fault", name=name, model=model, times=times, for_s=for_s, **details)

    async def platform_fault(
        self,
        call: str,
        *,
        times: int = 1,
        code: int = 0,
        message: str = "sandbox fault",
        status: int = 0,
        headers: dict[str, str] | None = None,
        delay_s: float = 0.0,
        hold: bool = False,
        drop: bool = False,
    ) -> None:
        """Let the platform's next calls go wrong, e.g. ``"POST /reply"``; see `PlatformFault`."""
        await self._post(
            "platform-fault",
            call=call,
            times=times,
            code=code,
            message=message,
            status=status,
            headers=headers or {},
            delay_s=delay_s,
            hold=hold,
            drop=drop,
        )

    async def refuse_endpoint(
        self, code: int, message: str = "refused", *, times: int = 1, status: int = 200
    ) -> None:
        """Give no address to those who ask for one to connect to, with this code of the platform."""
        await self.platform_fault(
            "POST /callback/ws/endpoint", code=code, message=message, times=times, status=status
        )

    async def refuse_handshakes(
        self,
        *,
        times: int = 1,
        status: int = 514,
        message: str = "invalid ticket",
        autherrcode: int = 0,
        http: int = 403,
        hang: bool = False,
    ) -> None:
        """Let the next connections not come to be; see `HandshakeFault`."""
        await self._post(
            "refuse-handshakes",
            times=times,
            status=status,
            message=message,
            autherrcode=autherrcode,
            http=http,
            hang=hang,
        )

    async def half_open(self, connection: str = "") -> int:
        """Read and write nothing more on this open connection, or on all; the TCP connection stays."""
        return await self._fall_ill("half-open", connection)

    async def quiet(self, connection: str = "") -> int:
        """Answer pings on this open connection, or on all, but send no events on it."""
        return await self._fall_ill("quiet", connection)

    async def without_pongs(self, connection: str = "") -> int:
        """Send events on this open connection, or on all, but answer no pings."""
        return await self._fall_ill("no-pongs", connection)

    async def well(self, connection: str = "") -> int:
        """End this for one connection, or for all."""
        return await self._fall_ill("none", connection)

    async def kick(self, code: int = 1000, reason: str = "", *, connection: str = "") -> int:
        """End one open connection, or all, with this code; with 1006 without a CLOSE. Returns how many."""
        return int((await self._post("kick", code=code, reason=reason, connection=connection))["connections"])

    async def spoil_events(self, how: str, *, times: int = 1, size_bytes: int = 2 * 1024 * 1024) -> None:
        """Spoil the next events on their way over a connection, e.g. ``"truncated"``; see `trouble.SPOILS`."""
        await self._post("spoil-events", how=how, times=times, size_bytes=size_bytes)

    async def send_bytes(self, data: bytes, *, connection: str = "") -> int:
        """Send this message over one open connection, or over all; returns over how many."""
        return int((await self._post("send-bytes", hex=data.hex(), connection=connection))["connections"])

    async def hold_events(self) -> None:
        """Keep back what happens from now on, however the bot is subscribed."""
        await self._post("hold-events")

    async def release_events(self, order: Literal["as said", "reversed", "shuffled"] = "as said") -> int:
        """Deliver what was kept back, late and in this order; returns how many events."""
        return int((await self._post("release-events", order=order))["released"])

    async def release(self) -> int:
        """Let go of the answers that faults hold back; returns how many."""
        return int((await self._post("release"))["released"])

    async def clear(self, *, model: str = "") -> None:
        """Forget the faults of one model, or all of them, the platform's and its connections' too."""
        await self._post("clear", model=model)

    async def expire_tokens(self) -> None:
        """Make the access tokens given out so far invalid."""
        await self._post("expire-tokens")

    async def options(self, **changes: Any) -> None:  # noqa: ANN401  the fields of `Options`
        """Change limits and manners of the platform; see `mainstay.sandbox.feishu.model.Options`."""
        await self._post("options", **changes)

    async def advance(self, seconds: float) -> None:
        """Move the platform's time forward: retries come due, cards and tokens grow old."""
        await self._post("advance", seconds=seconds)

    async def adopt(self, pid: int) -> None:
        """Make the sandbox run for this process from now on."""
        await self._post("adopt", pid=pid)

    async def add_models(self, names: Iterable[str]) -> dict[str, str]:
        """Let there be these models, in addition to those that are there; returns the base URLs of all."""
        return dict((await self._post("add-models", names=list(names)))["models"])

    async def _fall_ill(self, how: str, connection: str) -> int:
        return int((await self._post("fall-ill", how=how, connection=connection))["connections"])

    async def _get(self, path: str, **query: str) -> Any:  # noqa: ANN401  JSON, parsed by the caller
        return await self._ask("GET", path, params=query, timeout=_TIMEOUT_S + _POLL_S)

    async def _post(self, path: str, **given: Any) -> Any:  # noqa: ANN401
        return await self._ask("POST", path, json=given)

    async def _ask(self, method: str, path: str, **how: Any) -> Any:  # noqa: ANN401
        try:
            answer = await self._http.request(method, f"{self.address.control_url}/{path}", **how)
        except httpx2.HTTPError as error:
            raise SandboxError(
                f"the sandbox at {self.address.control_url} can not be reached ({type(error).__name__}): "
                "is the service running?"
            ) from error
        if answer.status_code != 200:
            raise SandboxError(f"the sandbox refused: {_reason(answer)}")
        return answer.json()


def _reason(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
