"""How does the platform write down what happened?

Schema 2.0 as the documentation of ``im.message.receive_v1`` and ``card.action.trigger`` gives it; schema 1.0 is the
older form that an app may still be subscribed to.
"""

import json

from mainstay.sandbox.feishu.model import App, Chat, Json, Moment, StoredMessage

__all__ = [
    "MENTION_KEY",
    "added",
    "clicked",
    "clicked_v1",
    "edited",
    "entered",
    "press_token",
    "recalled",
    "received",
    "received_v1",
    "verification",
]

MENTION_KEY = "@_user_1"


def verification(app: App, challenge: str) -> Json:
    """What a webhook is asked before it gets anything."""
    return {"challenge": challenge, "token": app.verification_token, "type": "url_verification"}


def received(app: App, chat: Chat, message: StoredMessage, event_id: str, now: Moment) -> Json:
    """A person has spoken."""
    said: Json = {
        "message_id": message.message_id,
        "create_time": str(message.created_ms),
        "update_time": str(message.updated_ms),
        "chat_id": message.chat_id,
        "chat_type": chat.chat_type,
        "message_type": message.msg_type,
        "content": message.content,
        "user_agent": "Mozilla/5.0 (sandbox)",
    }
    for name in ("root_id", "parent_id", "thread_id"):
        if getattr(message, name):
            said[name] = getattr(message, name)
    if message.mentions:
        said["mentions"] = [
            {
                "key": each["key"],
                "id": _user(str(each["id"])),
                "name": each["name"],
                "tenant_key": app.tenant_key,
            }
            for each in message.mentions
        ]
    sender = {
        "sender_id": _user(message.sender_id),
        "sender_type": message.sender_type,
        "tenant_key": app.tenant_key,
    }
    return _envelope(app, "im.message.receive_v1", event_id, str(now.ms), {"sender": sender, "message": said})


def recalled(app: App, message: StoredMessage, event_id: str, now: Moment) -> Json:
    """A person has taken back what they said."""
    event: Json = {
        "message_id": message.message_id,
        "chat_id": message.chat_id,
        "recall_time": str(now.ms),
        "recall_type": "message_owner",
    }
    return _envelope(app, "im.message.recalled_v1", event_id, str(now.ms), event)


def edited(app: App, message: StoredMessage, event_id: str, now: Moment) -> Json:
    """A person has changed what they said.

    The documentation has no such event; bots in use get it, and can rely on nothing in it but the message's id.
    """
    event: Json = {"message": {"message_id": message.message_id, "chat_id": message.chat_id}}
    return _envelope(app, "im.message.updated_v1", event_id, str(now.ms), event)


def entered(app: App, chat: Chat, sender: str, event_id: str, now: Moment) -> Json:
    """A person has opened the private chat with the bot."""
    event: Json = {"chat_id": chat.chat_id, "operator_id": _user(sender)}
    return _envelope(app, "im.chat.access_event.bot_p2p_chat_entered_v1", event_id, str(now.ms), event)


def added(app: App, chat: Chat, sender: str, event_id: str, now: Moment) -> Json:
    """Somebody has added the bot to a group."""
    event: Json = {
        "chat_id": chat.chat_id,
        "operator_id": _user(sender),
        "external": False,
        "operator_tenant_key": app.tenant_key,
        "name": "a group",
    }
    return _envelope(app, "im.chat.member.bot.added_v1", event_id, str(now.ms), event)


def press_token(event_id: str) -> str:
    """By which the bot may change the card that was pressed."""
    return f"c-{event_id}"


def clicked(app: App, message: StoredMessage, action: Json, user: str, event_id: str, now: Moment) -> Json:
    """A person has pressed something on a card; the time is in microseconds."""
    event: Json = {
        "operator": {"tenant_key": app.tenant_key, **_user(user)},
        "token": press_token(event_id),
        "action": action,
        "host": "im_message",
        "context": {"open_message_id": message.message_id, "open_chat_id": message.chat_id},
    }
    return _envelope(app, "card.action.trigger", event_id, str(now.ms * 1000), event)


def clicked_v1(app: App, message: StoredMessage, action: Json, user: str, event_id: str) -> Json:
    """The same in the older form, which has no envelope, and does not say in which chat."""
    return {
        "open_id": user,
        "user_id": _user(user)["user_id"],
        "tenant_key": app.tenant_key,
        "open_message_id": message.message_id,
        "token": press_token(event_id),
        "action": action,
    }


def received_v1(app: App, chat: Chat, message: StoredMessage, event_id: str, now: Moment) -> Json:
    """A person has spoken, in schema 1.0."""
    text = str(json.loads(message.content).get("text", ""))
    event: Json = {
        "type": "message",
        "app_id": app.app_id,
        "tenant_key": app.tenant_key,
        "root_id": message.root_id,
        "parent_id": message.parent_id,
        "open_chat_id": message.chat_id,
        "chat_type": "private" if chat.chat_type == "p2p" else "group",
        "msg_type": message.msg_type,
        "open_id": message.sender_id,
        "employee_id": _user(message.sender_id)["user_id"],
        "union_id": _user(message.sender_id)["union_id"],
        "open_message_id": message.message_id,
        "is_mention": bool(message.mentions),
        "text": text,
        "text_without_at_bot": text.replace(MENTION_KEY, "").strip(),
    }
    return {
        "ts": f"{now.at.timestamp():.6f}",
        "uuid": event_id,
        "token": app.verification_token,
        "type": "event_callback",
        "event": event,
    }


def _envelope(app: App, event_type: str, event_id: str, create_time: str, event: Json) -> Json:
    header = {
        "event_id": event_id,
        "event_type": event_type,
        "create_time": create_time,
        "token": app.verification_token,
        "app_id": app.app_id,
        "tenant_key": app.tenant_key,
    }
    return {"schema": "2.0", "header": header, "event": event}


def _user(open_id: str) -> dict[str, str]:
    name = open_id.removeprefix("ou_")
    return {"union_id": f"on_{name}", "user_id": name, "open_id": open_id}
