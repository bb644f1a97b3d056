"""Which API is this call, and whom does it concern?

Read from method and path, so that whoever makes a call does not have to know the limits. Only the chat is not in
the path of a reply.
"""

from typing import Final

from mainstay.channels.feishu.governor.model import Call, Key, Scope, Urgency

__all__ = ["call_of"]

_ROOT: Final = "/open-apis/"
_HOLD_IDS: Final = frozenset(
    {"cards", "chats", "elements", "files", "images", "messages", "reactions", "resources", "users"}
)
"""What follows one of these in a path is an id."""
_FREE: Final = ("auth/", "event/", "contact/")
"""Not among the month's calls, by the platform's notice on the limit of custom apps."""
_CARDS: Final = "cardkit/v1/cards"
_CHANGES: Final = ("PUT im/v1/messages/{}", "PATCH im/v1/messages/{}")


def call_of(method: str, path: str, *, chat_id: str = "") -> Call:
    """The call of this path; ``chat_id`` is where a message goes, if it is one."""
    names, ids = _split(path.removeprefix(_ROOT).partition("?")[0])
    api = f"{method} {names}"
    buckets: list[Key] = [(Scope.API, api)]
    if chat_id:
        buckets.append((Scope.CHAT, chat_id))
    if names.startswith(f"{_CARDS}/{{}}"):
        buckets.append((Scope.CARD, ids[0]))
    if api in _CHANGES:
        buckets.append((Scope.MESSAGE, ids[0]))
    return Call(
        api=api, buckets=tuple(buckets), urgency=_urgency(method, names), counted=not names.startswith(_FREE)
    )


def _urgency(method: str, names: str) -> Urgency:
    """A reaction that is taken away is no courtesy: it would say something that is not true any more."""
    if names.startswith(_CARDS) and names.endswith("/content"):
        return Urgency.UPDATE
    return Urgency.COURTESY if method == "POST" and "/reactions" in names else Urgency.OUTCOME


def _split(path: str) -> tuple[str, list[str]]:
    """The path with ``{}`` in the place of each id, and the ids."""
    names: list[str] = []
    ids: list[str] = []
    for part in path.strip("/").split("/"):
        if names and names[-1] in _HOLD_IDS:
            names.append("{}")
            ids.append(part)
        else:
            names.append(part)
    return "/".join(names), ids
