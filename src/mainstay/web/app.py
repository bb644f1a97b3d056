"""What is served, to whom?

Exact paths, and nothing else: no normalisation, so that there is one spelling to guard; a mount with items also
answers what is one plain segment below it, and what can be done with that. A request for what does not exist needs
the same token as one for what does: without it nobody learns which paths there are.
"""

import json
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Literal, assert_never

from mainstay.asgi import ITEM, ASGIApp, Mount, Receive, Scope, Send, respond
from mainstay.web.access import Access
from mainstay.web.limits import capped

__all__ = ["App", "build"]

_NOT_FOUND = 404, "not found"
_CHALLENGE = [(b"www-authenticate", b"Bearer")]
_RETRY_AFTER = [(b"retry-after", b"5")]  # seconds: by then a successor has the port


class App:
    """The ASGI application of the service.

    Args:
        mounts: what answers.
        access: who may see it.
        failed: told of the path where an application raised, and what.

    Attributes:
        draining: once true, all that is not public is 503, for the successor to take.
    """

    def __init__(self, mounts: Iterable[Mount], access: Access, failed: Callable[[str, Exception], None]) -> None:
        self.draining = False
        self._access = access
        self._failed = failed
        self._mounts: dict[str, Mount] = {}
        self._apps: dict[str, ASGIApp] = {}
        for mount in mounts:
            if mount.path in self._mounts:
                raise ValueError(f"two mounts at {mount.path}")
            self._mounts[mount.path] = mount
            self._apps[mount.path] = capped(
                mount.app, max_body_bytes=mount.max_body_bytes, body_timeout_s=mount.body_timeout_s
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        mount = self._mount(_path_on_the_wire(scope))
        refusal = self._refusal(scope, mount)
        if mount is None or refusal:
            status, error = refusal or _NOT_FOUND
            headers = _CHALLENGE if status == 401 else _RETRY_AFTER if status == 503 else []
            await respond(scope, send, status, _error(error), headers=headers)
            return
        answering = False

        async def send_noting(message: MutableMapping[str, Any]) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self._apps[mount.path](scope, receive, send_noting)
        except Exception as error:  # noqa: BLE001  the border of whatever is mounted
            self._failed(mount.path, error)
            if not answering:  # else the server breaks off what is half an answer
                await respond(scope, send, 500, _error("internal error"))

    def _mount(self, path: str) -> Mount | None:
        if path in self._mounts:
            return self._mounts[path]
        above, _, last = path.rpartition("/")
        parent, item = self._mounts.get(above), last
        if parent is None:  # there may be something to be done with an item
            above, _, item = above.rpartition("/")
            parent = self._mounts.get(above)
            if parent is None or last not in parent.actions:
                return None
        return parent if parent.items and ITEM.fullmatch(item) else None

    def _refusal(self, scope: Scope, mount: Mount | None) -> tuple[int, str] | None:
        access = mount.access if mount else "viewer"
        match access:
            case "public":
                return None
            case "signature":
                pass
            case "viewer" | "operator":
                refusal = self._unauthorised(scope, access)
                if refusal:
                    return refusal
            case _:
                assert_never(access)
        if mount is None:
            return _NOT_FOUND
        if self.draining:
            return 503, "the service is stopping: try again"
        return None

    def _unauthorised(self, scope: Scope, needed: Literal["viewer", "operator"]) -> tuple[int, str] | None:
        if not self._access.knows_host(scope):
            return 403, "the Host header names no host of this service: see service.public_hosts"
        role = self._access.role(scope)
        if role is None:
            return 401, "a token is needed: Authorization: Bearer ..."
        if not self._access.is_same_origin(scope):
            return 403, "the request comes from another site"
        if needed == "operator" and role != "operator":
            return 403, "an operator's token is needed"
        return None


def build(
    mounts: Iterable[Mount],
    *,
    access: Access,
    service: str,
    mode: Literal["subscription", "webhook"],
    sandbox: bool,
    failed: Callable[[str, Exception], None],
) -> App:
    """The application of these mounts and ``GET /``, which says what this is.

    Args:
        mounts: everything else.
        access: who may see it.
        service: the configured name of the service.
        mode: how messages come in.
        sandbox: whether the platform or a model is the embedded one.
        failed: see `App`.
    """
    front = json.dumps({"status": "ok", "service": service, "mode": mode, "sandbox": sandbox}).encode()

    async def front_page(scope: Scope, _: Receive, send: Send) -> None:
        if scope["method"] in {"GET", "HEAD"}:
            await respond(scope, send, 200, front)
        else:
            await respond(scope, send, 405, _error("method not allowed"), headers=[(b"allow", b"GET, HEAD")])

    return App([Mount(path="/", app=front_page, access="public"), *mounts], access, failed)


def _path_on_the_wire(scope: Scope) -> str:
    # undecoded: "/%68ealth" is another path than "/health", and there is none of that name
    raw: bytes = scope["raw_path"]
    return raw.decode("latin-1")


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()
