"""Who is asking, and may they?

Whatever address the service is bound to: a proxy or a tunnel makes everybody look local. So all that is not public
or signed needs a token, made at the first start and kept in ``tokens.json`` for its owner's eyes only. It comes as
a Bearer header, or as the cookie that a page got for it.
"""

import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from mainstay.asgi import Scope, header, host_name, is_direct_local, is_loopback
from mainstay.errors import ConfigError
from mainstay.settings import Secret

__all__ = ["Access", "Role", "Tokens", "load_tokens"]

Role = Literal["viewer", "operator"]
"""A viewer may look; an operator may also do, and whatever a viewer may."""

COOKIE = "mainstay_token"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SHORTEST = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a viewer and an operator show."""

    viewer: Secret
    operator: Secret


def load_tokens(home: Path) -> Tokens:
    """The tokens in ``home``; made there if there are none.

    Raises:
        ConfigError: the file can be read or written by others, belongs to somebody else, or holds something else.
    """
    path = home / "tokens.json"
    if not path.exists():
        _create(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: can not be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
            raise ConfigError(f"{path}: must be a file of the user who runs this: delete it to get a new one")
        if state.st_mode & 0o077:
            raise ConfigError(
                f"{path}: others may read it (mode {state.st_mode & 0o777:04o}): delete it to get new tokens, "
                "or run chmod 600 on it if nobody else has seen them"
            )
        content = file.read(4096)
    return _parsed(path, content)


def _parsed(path: Path, content: bytes) -> Tokens:
    try:
        values = json.loads(content)
        viewer, operator = values["viewer"], values["operator"]
        fits = all(
            isinstance(token, str) and token.isascii() and len(token) >= _SHORTEST for token in (viewer, operator)
        )
    except (ValueError, TypeError, KeyError):
        fits, viewer, operator = False, "", ""
    if not fits or viewer == operator:
        raise ConfigError(
            f'{path}: must hold {{"viewer": ..., "operator": ...}}, two different tokens of at least {_SHORTEST} '
            "characters: delete it to get new ones"
        )
    return Tokens(viewer=Secret(viewer), operator=Secret(operator))


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens = {"viewer": secrets.token_urlsafe(32), "operator": secrets.token_urlsafe(32)}
    fresh = path.with_name(f".tokens-{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(tokens, file)
            file.flush()
            os.fsync(descriptor)
        # a link, not a rename: when two processes start at once, the first one's tokens hold for both
        path.hardlink_to(fresh)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


class Access:
    """The rules, for one set of tokens and host names.

    Args:
        tokens: see `load_tokens`.
        hosts: names, besides those of the loopback interface, under which the service is asked for. Plain addresses
            are always allowed: only a name can be made to point here by somebody else (DNS rebinding).
    """

    def __init__(self, tokens: Tokens, hosts: Iterable[str] = ()) -> None:
        self._tokens = tokens
        self._hosts = frozenset(host.lower() for host in hosts)

    def role(self, scope: Scope) -> Role | None:
        """What the request may do by the token it shows; None if it shows none that is right."""
        shown = _bearer(scope) or _cookie(scope)
        if shown is None:
            return None
        # both are compared, whatever the first result: the time must not tell
        operator = hmac.compare_digest(shown, self._tokens.operator.reveal().encode())
        viewer = hmac.compare_digest(shown, self._tokens.viewer.reveal().encode())
        return "operator" if operator else "viewer" if viewer else None

    def knows_host(self, scope: Scope) -> bool:
        """Whether the request was meant for this service, by its Host header."""
        host = host_name(scope)
        return is_loopback(host) or host in self._hosts or _is_address(host)

    def is_same_origin(self, scope: Scope) -> bool:
        """Whether no page of another site has made this request.

        Browsers send Origin with all that changes something. Without it a request can only be trusted if it shows
        its token in a header, which no foreign page can make a browser do.
        """
        origin = header(scope, b"origin")
        if origin is None:
            return not _has(scope, b"origin") and (scope["method"] in _READING or _bearer(scope) is not None)
        _, separator, netloc = origin.lower().partition(b"://")
        return bool(separator) and netloc == (header(scope, b"host") or b"").lower()

    def trusted(self, scope: Scope) -> bool:
        """Whether details may be shown: to the holder of a token, and to a direct caller on this machine."""
        return is_direct_local(scope) or (self.role(scope) is not None and self.knows_host(scope))

    def cookie(self, token: Secret, *, secure: bool) -> tuple[bytes, bytes]:
        """The header that lets a page keep its token where no script can read it."""
        attributes = "; HttpOnly; SameSite=Strict; Path=/" + ("; Secure" if secure else "")
        return b"set-cookie", f"{COOKIE}={token.reveal()}{attributes}".encode()


def _bearer(scope: Scope) -> bytes | None:
    scheme, _, token = (header(scope, b"authorization") or b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None


def _cookie(scope: Scope) -> bytes | None:
    for part in (header(scope, b"cookie") or b"").split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == COOKIE.encode():
            return value
    return None


def _has(scope: Scope, name: bytes) -> bool:
    return any(key == name for key, _ in scope["headers"])


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
