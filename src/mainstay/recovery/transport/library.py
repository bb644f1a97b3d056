"""Which HTTP library does a transport belong to, httpx or httpx2?

Both have the same classes under two names, and each takes only its own: a client checks the type of a response's
stream, and an SDK catches the exceptions of the library that it was written for. Neither is imported here; who has
a transport of one of them has imported it.
"""

import sys
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from mainstay.recovery.transport.refusal import StandIn

if TYPE_CHECKING:
    import httpx2

__all__ = ["Library", "as_its_own", "library_of", "response_of"]

T = TypeVar("T")
_MADE: Final[dict[tuple[type, ...], type]] = {}


class Library(Protocol):
    """The module, as far as it is used."""

    AsyncBaseTransport: type["httpx2.AsyncBaseTransport"]
    BaseTransport: type["httpx2.BaseTransport"]
    AsyncByteStream: type["httpx2.AsyncByteStream"]
    SyncByteStream: type["httpx2.SyncByteStream"]
    Response: type["httpx2.Response"]
    ReadTimeout: type["httpx2.ReadTimeout"]


def library_of(transport: object) -> Library:
    """The library from whose base class the transport is derived.

    It is asked for by identity: a class's ``__module__`` is no evidence, as an SDK writes its own name into
    those that it exports again.

    Raises:
        TypeError: if it is derived from none.
    """
    for name in ("httpx2", "httpx"):
        module = sys.modules.get(name)
        if module is not None and isinstance(transport, (module.BaseTransport, module.AsyncBaseTransport)):
            return cast("Library", module)
    raise TypeError(
        f"{type(transport).__name__} is no transport of httpx or httpx2: give one of their HTTPTransport or "
        "AsyncHTTPTransport, or a class derived from their BaseTransport or AsyncBaseTransport"
    )


def as_its_own(cls: type[T], *bases: type) -> type[T]:
    """The class, derived from the library's own base classes as well; always the same one for the same bases."""
    made = _MADE.get((cls, *bases))
    if made is None:
        made = _MADE.setdefault((cls, *bases), type(cls.__name__, (cls, *bases), {"__module__": cls.__module__}))
    return cast("type[T]", made)


def response_of(library: Library, stand_in: StandIn, request: "httpx2.Request") -> "httpx2.Response":
    """The response that nobody sent, as one of the library's that is yet to be read."""
    full = library.Response(stand_in.status, headers=dict(stand_in.headers), json=stand_in.body)
    return library.Response(full.status_code, headers=full.headers, stream=full.stream, request=request)
