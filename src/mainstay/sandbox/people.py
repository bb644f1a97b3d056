"""What else can the people in the sandbox do?

Verbs of the control interface beside speaking: changing what was said, and coming in.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.delivery import Pusher
from mainstay.sandbox.feishu.tenant import USER, Tenant

__all__ = ["people_verbs"]

Verb = Callable[[dict[str, Any]], Awaitable[object]]


def people_verbs(tenant: Tenant, pusher: Pusher, clock: PlatformClock) -> dict[str, Verb]:
    """The verbs by name; each takes the JSON that was sent, and returns the event's id."""

    def event_id() -> str:
        return tenant.messages.new_id("", 32)

    async def edit(given: dict[str, Any]) -> object:
        mentions = given.get("mentions")
        message = tenant.edit(
            str(given["message_id"]),
            str(given["text"]),
            clock.moment(),
            mentions=[str(each) for each in mentions] if isinstance(mentions, list) else None,
        )
        body = events.edited(tenant.app, message, event_id(), clock.moment())
        return {"event_id": pusher.push(body, message_id=f"edit:{message.message_id}", chat_id=message.chat_id)}

    async def enter(given: dict[str, Any]) -> object:
        sender = str(given.get("sender", USER))
        chat = tenant.enter(sender)
        body = events.entered(tenant.app, chat, sender, event_id(), clock.moment())
        return {"event_id": pusher.push(body, message_id=f"enter:{sender}", chat_id=chat.chat_id)}

    async def add_bot(given: dict[str, Any]) -> object:
        chat = tenant.add_bot(str(given.get("chat", "")))
        body = events.added(tenant.app, chat, str(given.get("sender", USER)), event_id(), clock.moment())
        return {"event_id": pusher.push(body, message_id=f"added:{chat.chat_id}", chat_id=chat.chat_id)}

    return {"edit": edit, "enter": enter, "add-bot": add_bot}
