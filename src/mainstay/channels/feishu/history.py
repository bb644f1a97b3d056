"""How would the platform have told of a message that it hands out when it is asked?

The API writes a message other than events do. What is learnt by asking goes the way of every event.
"""

from mainstay.channels.feishu.envelope import Json, mapping_at, text_at

__all__ = ["as_event"]


def as_event(item: Json, *, chat_id: str, chat_type: str) -> Json:
    """A message of the API as the ``event`` of an ``im.message.receive_v1``; the API leaves out ``chat_type``."""
    sender, mentions = mapping_at(item, "sender"), item.get("mentions")
    message: dict[str, object] = {
        name: item[name]
        for name in ("message_id", "root_id", "parent_id", "thread_id", "create_time", "update_time")
        if name in item
    }
    message |= {
        "chat_id": chat_id,
        "chat_type": chat_type,
        "message_type": text_at(item, "msg_type"),
        "content": text_at(item, "body", "content"),
        "mentions": [
            {"key": text_at(each, "key"), "name": text_at(each, "name"), "id": _ids(each)}
            for each in (mentions if isinstance(mentions, list) else [])
        ],
    }
    said_by = {"sender_id": _ids(sender), "sender_type": text_at(sender, "sender_type")}
    return {"sender": said_by, "message": message}


def _ids(person: object) -> Json:
    return {text_at(person, "id_type") or "open_id": text_at(person, "id")}
