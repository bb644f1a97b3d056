"""What does every ASGI application of the house need?

The types of the protocol, where an application is mounted, one way to answer, and the one question that decides
what a caller without a token may see: is it somebody at this machine?
"""

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Literal

__all__ = [
    "HANG_UP",
    "ITEM",
    "ASGIApp",
    "Mount",
    "Receive",
    "Scope",
    "Send",
    "hang_up",
    "header",
    "host_name",
    "is_direct_local",
    "is_loopback",
    "respond",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

ITEM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")
"""The name of one thing in a path: nothing in it is ever escaped, so that it has one spelling."""

HANG_UP: Final = "mainstay.hang_up"
"""Of our server's scopes, among the ``extensions``: what `hang_up` calls."""

_HAS_PORT = re.compile(r"(?:^[^:]*|\]):\d*$")
_PASSED_ON = (b"forwarded", b"via", b"x-real-ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One path and what answers there.

    Attributes:
        path: matched exactly, as it is written on the wire.
        access: ``"public"``; ``"signature"``: the application verifies the sender itself; ``"viewer"`` or
            ``"operator"``: needs that token. Operator if nobody said otherwise.
        items: whether it also answers at ``path/NAME``, see `ITEM`.
        actions: what may be done with an item, at ``path/NAME/ACTION``.
        max_body_bytes: a larger request is 413.
        body_timeout_s: a request whose body takes longer to arrive is 408.
    """

    path: str
    app: ASGIApp
    access: Literal["public", "signature", "viewer", "operator"] = "operator"
    items: bool = False
    actions: Collection[str] = ()
    max_body_bytes: int = 1024 * 1024
    body_timeout_s: float = 30.0


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a header, by its lower-case name; None if it is absent or was sent more than once."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0] if len(found) == 1 else None


async def hang_up(scope: Scope, receive: Receive) -> None:
    """End the connection of a client that takes nothing any more, and drop what it has not taken."""
    if (end := scope.get("extensions", {}).get(HANG_UP)) is not None:
        end()
        while (await receive())["type"] != "http.disconnect":
            pass


def host_name(scope: Scope) -> str:
    """The host that the client asked for, lower case, without the port and brackets; empty if that is unclear."""
    host = (header(scope, b"host") or b"").decode("latin-1").lower()
    name = host.rpartition(":")[0] if _HAS_PORT.search(host) else host
    return name.removeprefix("[").removesuffix("]")


def is_loopback(host: str) -> bool:
    """Whether it is ``localhost`` or an address of the loopback interface."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_direct_local(scope: Scope) -> bool:
    """Whether the request came from this machine, with no proxy or tunnel in between that says so.

    The host asked for must be a loopback one as well: a page on the internet can make a browser here connect to
    this machine under a name of its own. A proxy that adds no header at all still looks local, so this decides
    what is shown, never what may be done.
    """
    client = scope.get("client")
    if not client or not is_loopback(client[0]) or not is_loopback(host_name(scope)):
        return False
    return not any(name in _PASSED_ON or name.startswith(b"x-forwarded-") for name, _ in scope["headers"])


async def respond(
    scope: Scope,
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: bytes = b"application/json",
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer an HTTP request at once; to HEAD with the same headers and no body."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
