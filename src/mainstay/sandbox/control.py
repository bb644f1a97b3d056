"""What can be asked of the sandbox from outside?

``/sandbox/…`` on the platform's listener, for holders of the control token: speaking as a person, breaking things,
and reading what was seen.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mainstay.sandbox.feishu import cardtext, events
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.delivery import Pusher
from mainstay.sandbox.feishu.faults import PlatformFault, PlatformFaults
from mainstay.sandbox.feishu.model import Json, Refusal, StoredMessage
from mainstay.sandbox.feishu.platform import Platform
from mainstay.sandbox.feishu.websocket import Gateway
from mainstay.sandbox.lines import LineControl
from mainstay.sandbox.model import SaidMessage, to_json
from mainstay.sandbox.models import Models
from mainstay.sandbox.owner import Owner
from mainstay.sandbox.people import people_verbs
from mainstay.sandbox.provider.faults import FaultPlan

__all__ = ["Changes", "Controlled", "control_app"]

_MAX_WAIT_S = 30.0
_MAX_EVENT_ID = 64


class Changes:
    """Wakes everybody who waits for something to change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.ended = False

    def announce(self) -> None:
        """Something has changed."""
        self._event.set()
        self._event = asyncio.Event()

    def end(self) -> None:
        """There will be no more: whoever waits is told so, rather than cut off."""
        self.ended = True
        self.announce()

    async def next(self) -> None:
        """Return at the next change, or at the end."""
        await self._event.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Controlled:
    """Everything that the control interface reaches.

    Attributes:
        publish: writes down where everything is, after something was added.
    """

    platform: Platform
    pusher: Pusher
    gateway: Gateway
    clock: PlatformClock
    faults: PlatformFaults
    changes: Changes
    owner: Owner
    models: Models
    publish: Callable[[], None]


def control_app(parts: Controlled, token: str) -> ASGIApp:
    """The application; every request needs the token as a Bearer."""
    control = _Control(parts)
    routes = [
        Route("/sandbox/state", _answer(control.state)),
        Route("/sandbox/record", _answer(control.record)),
        Route("/sandbox/outcomes", _answer(control.outcomes)),
        Route("/sandbox/deliveries", _answer(control.deliveries)),
        Route("/sandbox/connections", _answer(control.lines.connections)),
        Route("/sandbox/calls", _answer(control.calls)),
        Route("/sandbox/models", _answer(control.models)),
        Route("/sandbox/watch/{message_id}", _answer(control.watch)),
        *(
            Route(f"/sandbox/{name}", _answer(verb), methods=["POST"])
            for name, verb in (
                ("subscribe", control.subscribe),
                *control.lines.verbs.items(),
                ("say", control.say),
                ("deliver-again", control.deliver_again),
                ("recall", control.recall),
                ("click", control.click),
                ("fault", control.fault),
                ("platform-fault", control.platform_fault),
                ("release", control.release),
                ("clear", control.clear),
                ("expire-tokens", control.expire_tokens),
                ("options", control.options),
                ("advance", control.advance),
                ("adopt", control.adopt),
                ("add-models", control.add_models),
                *people_verbs(parts.platform.tenant, parts.pusher, parts.clock).items(),
            )
        ),
    ]
    inner = Starlette(routes=routes, exception_handlers={HTTPException: _explained})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, f"Bearer {token}".encode()):
            await inner(scope, receive, send)
        else:
            await _json({"error": "the control token is missing or wrong"}, 401)(scope, receive, send)

    return app


def _json(value: object, status: int = 200) -> Response:
    return Response(to_json(value), status, media_type="application/json")


async def _explained(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)


def _answer(verb: Callable[[dict[str, Any]], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
    """The verb as an endpoint: one JSON object in (for a GET, the path and query), JSON out."""

    async def endpoint(request: Request) -> Response:
        given: object = {**request.query_params, **request.path_params}
        if request.method == "POST":
            try:
                given = json.loads(await request.body() or b"{}")
            except ValueError:
                given = None
        if not isinstance(given, dict):
            raise HTTPException(400, "the body must be a JSON object")
        try:
            return _json(await verb(given))
        except Refusal as why:
            raise HTTPException(409, why.message) from None
        except OverflowError as why:
            raise HTTPException(503, str(why)) from None
        except KeyError as missing:
            raise HTTPException(404, f"not found: {missing}") from None
        except (TypeError, ValueError) as wrong:
            raise HTTPException(400, str(wrong)) from None

    return endpoint


class _Control:
    """One method for each verb."""

    def __init__(self, parts: Controlled) -> None:
        self._parts = parts
        self._tenant = parts.platform.tenant
        self.lines = LineControl(self._tenant.connections, parts.pusher, parts.gateway)

    async def state(self, _: dict[str, Any]) -> object:
        parts = self._parts
        return {
            "url": parts.pusher.webhook.url,
            "by_connection": parts.pusher.by_connection,
            "owner": parts.owner.pid,
            "owners": parts.owner.living,
            "time_scale": parts.clock.scale,
            "options": asdict(self._tenant.options),
            "faults": {
                name: [asdict(each) for each in plan.active()] for name, plan in parts.models.faults.items()
            },
            "platform_faults": [{**asdict(fault), "left": left} for fault, left in parts.faults.active()],
            "held": parts.faults.held,
        }

    async def record(self, _: dict[str, Any]) -> object:
        now, record = self._parts.clock.moment(), self._tenant.record
        return {
            "messages": [record.snapshot(each, now, history=True) for each in record.messages()],
            "unprompted": [record.reply(each, now) for each in record.unprompted],
        }

    async def outcomes(self, _: dict[str, Any]) -> object:
        now, record = self._parts.clock.moment(), self._tenant.record
        return [verdict for each in record.messages() for verdict in record.verdicts(each, now)]

    async def deliveries(self, _: dict[str, Any]) -> object:
        return self._parts.pusher.deliveries()

    async def calls(self, _: dict[str, Any]) -> object:
        names = ("at_s", "method", "path", "status", "code")
        return [dict(zip(names, call, strict=True)) for call in self._parts.platform.calls]

    async def models(self, given: dict[str, Any]) -> object:
        last = int(given.get("last", 1000))
        if last < 1:
            raise ValueError("last must be at least 1")
        return {name: record.as_json(last) for name, record in self._parts.models.records.items()}

    async def watch(self, given: dict[str, Any]) -> object:
        message_id, after = str(given["message_id"]), int(given.get("after", 0))
        record, wait_s = self._tenant.record, min(float(given.get("wait_s", 20.0)), _MAX_WAIT_S)
        snapshot = record.snapshot(message_id, self._parts.clock.moment())
        try:
            async with asyncio.timeout(wait_s):
                while snapshot.revision <= after and not snapshot.final:
                    if self._parts.changes.ended:
                        raise HTTPException(503, "it was stopped before there was an outcome")
                    await self._parts.changes.next()
                    snapshot = record.snapshot(message_id, self._parts.clock.moment())
        except TimeoutError:
            pass
        return snapshot

    async def subscribe(self, given: dict[str, Any]) -> object:
        wrong = await self._parts.pusher.subscribe(str(given["url"]), str(given.get("card_url", "")))
        if wrong:
            raise HTTPException(409, wrong)
        return {}

    async def say(self, given: dict[str, Any]) -> object:
        if not self._parts.pusher.subscribed:
            raise HTTPException(409, "no bot is subscribed to this sandbox: start the service first")
        event_id, schema = str(given.pop("event_id", "") or self._event_id()), given.pop("schema", "2.0")
        if len(event_id) > _MAX_EVENT_ID or schema not in {"1.0", "2.0"}:
            raise ValueError('event_id must have 64 characters at most, schema must be "1.0" or "2.0"')
        text, thread = str(given.pop("text")), str(given.pop("thread", ""))
        if thread:
            given["reply_to"] = self._root(thread)
        message = self._tenant.say(text, self._parts.clock.moment(), **given)
        self._push(message, event_id, schema)
        self._parts.changes.announce()
        return SaidMessage(
            message_id=message.message_id,
            event_id=event_id,
            chat_id=message.chat_id,
            chat_type=self._tenant.messages.chats[message.chat_id].chat_type,
            app_id=self._tenant.app.app_id,
            sender_id=message.sender_id,
            text=text,
            thread_id=message.thread_id,
        )

    async def deliver_again(self, given: dict[str, Any]) -> object:
        message = self._tenant.messages.messages[str(given["message_id"])]
        if given.get("new_event_id"):
            return {"event_id": self._push(message, self._event_id(), "2.0")}
        event_id = self._parts.pusher.again(message.message_id)
        if not event_id:
            raise KeyError(message.message_id)
        return {"event_id": event_id}

    async def recall(self, given: dict[str, Any]) -> object:
        now = self._parts.clock.moment()
        message = self._tenant.recall(str(given["message_id"]), now)
        event_id = self._event_id()
        body = events.recalled(self._tenant.app, message, event_id, now)
        self._parts.pusher.push(body, message_id=f"recall:{message.message_id}", chat_id=message.chat_id)
        self._parts.changes.announce()
        return {"event_id": event_id}

    async def click(self, given: dict[str, Any]) -> object:
        message = self._tenant.messages.living(str(given["message_id"]))
        user, event_id = str(given.get("user", "ou_u1")), str(given.get("event_id", "") or self._event_id())
        label, action = str(given.get("label", "")), given.get("action", {})
        if not isinstance(action, dict):
            raise TypeError("action must be an object")
        if label:
            action = {"tag": "button", "timezone": "Asia/Shanghai", "value": self._button(message, label)}
        app = self._tenant.app
        if given.get("schema", "2.0") == "1.0":
            body = events.clicked_v1(app, message, action, user, event_id)
        else:
            body = events.clicked(app, message, action, user, event_id, self._parts.clock.moment())
        press = self._tenant.record.pressed(message.message_id, label, action.get("value"))
        token = events.press_token(event_id)
        self._tenant.delayed.pressed(token, message.message_id, self._parts.clock.moment())
        with self._tenant.cards.interaction(message.card_id):
            status, answer = await self._parts.pusher.callback(body)
        if status == 200:
            self._tenant.messages.answered(message.message_id, answer, self._parts.clock.moment())
            self._tenant.delayed.answered(token)
            self._tenant.record.touch(message.message_id)
        self._tenant.record.answered(press, status, answer)
        self._parts.changes.announce()
        return {"status": status, "answer": answer}

    async def fault(self, given: dict[str, Any]) -> object:
        model, name = given.pop("model", None) or "", str(given.pop("name"))
        for plan in self._plans(model):
            plan.inject(name, **given)
        return {}

    async def platform_fault(self, given: dict[str, Any]) -> object:
        self._parts.faults.inject(PlatformFault(**given))
        return {}

    async def release(self, _: dict[str, Any]) -> object:
        return {"released": self._parts.faults.release()}

    async def clear(self, given: dict[str, Any]) -> object:
        model = given.get("model") or ""
        for plan in self._plans(model):
            plan.clear()
        if not model:
            self._parts.faults.clear()
            self.lines.clear()
        return {}

    async def expire_tokens(self, _: dict[str, Any]) -> object:
        return {"expired": self._tenant.tokens.revoke()}

    async def options(self, given: dict[str, Any]) -> object:
        self._tenant.options = replace(self._tenant.options, **given)
        return self._tenant.options

    async def advance(self, given: dict[str, Any]) -> object:
        seconds = float(given["seconds"])
        if not 0 <= seconds < float("inf"):
            raise ValueError("seconds must be finite, and not negative")
        self._parts.clock.advance(seconds)
        self._parts.changes.announce()
        return {}

    async def adopt(self, given: dict[str, Any]) -> object:
        pid = int(given["pid"])
        if pid and not self._parts.owner.adopt(pid):
            raise ValueError(f"there is no process {pid}")
        return {"owner": self._parts.owner.pid}

    async def add_models(self, given: dict[str, Any]) -> object:
        names = given["names"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("names must be a list of names")
        await self._parts.models.add(names)
        self._parts.publish()
        return {"models": self._parts.models.urls}

    def _plans(self, model: str) -> list[FaultPlan]:
        """That of one model, or those of all."""
        faults = self._parts.models.faults
        return [faults[model]] if model else list(faults.values())

    def _push(self, message: StoredMessage, event_id: str, schema: str) -> str:
        chat, now = self._tenant.messages.chats[message.chat_id], self._parts.clock.moment()
        write = events.received if schema == "2.0" else events.received_v1
        body: Json = write(self._tenant.app, chat, message, event_id, now)
        return self._parts.pusher.push(body, message_id=message.message_id, chat_id=message.chat_id)

    def _button(self, message: StoredMessage, label: str) -> object:
        """What the button of that label sends; a person can press no other."""
        card = self._tenant.cards.cards.get(message.card_id)
        found = cardtext.buttons(card.content if card else json.loads(message.content))
        for name, value in found:
            if name == label:
                return value
        labels = ", ".join(name for name, _ in found) or "none"
        raise ValueError(f"there is no button {label!r} on that card; buttons: {labels}")

    def _event_id(self) -> str:
        return self._tenant.messages.new_id("", 32)

    def _root(self, thread: str) -> str:
        """The message to reply to: the one named, or the root of the thread named."""
        messages = self._tenant.messages.messages
        if thread in messages:
            return thread
        return next(each.message_id for each in messages.values() if each.thread_id == thread and not each.root_id)
