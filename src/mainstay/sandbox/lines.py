"""What can be done to the bot's long connections from outside?

The part of the control interface that concerns them: what is read of them, and what goes wrong on them.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mainstay.sandbox.feishu.delivery import Pusher
from mainstay.sandbox.feishu.registry import Registry
from mainstay.sandbox.feishu.trouble import HandshakeFault, Spoil, illness
from mainstay.sandbox.feishu.websocket import Gateway

__all__ = ["LineControl"]

_MOST = 10_000


class LineControl:
    """One method for each verb; `verbs` has them by name."""

    def __init__(self, registry: Registry, pusher: Pusher, gateway: Gateway) -> None:
        self._registry = registry
        self._pusher = pusher
        self._gateway = gateway
        self.verbs: Mapping[str, Callable[[dict[str, Any]], Awaitable[object]]] = {
            "subscribe-by-connection": self._subscribe,
            "fall-ill": self._fall_ill,
            "kick": self._kick,
            "refuse-handshakes": self._refuse_handshakes,
            "spoil-events": self._spoil_events,
            "send-bytes": self._send_bytes,
            "hold-events": self._hold_events,
            "release-events": self._release_events,
        }

    async def connections(self, _: dict[str, Any]) -> object:
        """Every connection that was asked for, oldest first."""
        return self._registry.seen()

    def clear(self) -> None:
        """End all trouble."""
        self._gateway.clear()
        self._pusher.release()

    async def _subscribe(self, _: dict[str, Any]) -> object:
        self._pusher.subscribe_by_connection()
        return {}

    async def _fall_ill(self, given: dict[str, Any]) -> object:
        return {"connections": self._gateway.fall_ill(illness(str(given["how"])), str(given.get("connection", "")))}

    async def _kick(self, given: dict[str, Any]) -> object:
        code, reason = int(given.get("code", 1000)), str(given.get("reason", ""))
        return {"connections": await self._gateway.kick(code, reason, str(given.get("connection", "")))}

    async def _refuse_handshakes(self, given: dict[str, Any]) -> object:
        times = _times(given)
        self._gateway.trouble.handshakes += [HandshakeFault(**given)] * times
        return {}

    async def _spoil_events(self, given: dict[str, Any]) -> object:
        times = _times(given)
        self._gateway.trouble.spoils += [Spoil(**given)] * times
        return {}

    async def _send_bytes(self, given: dict[str, Any]) -> object:
        data = bytes.fromhex(str(given["hex"]))
        return {"connections": await self._gateway.write(data, str(given.get("connection", "")))}

    async def _hold_events(self, _: dict[str, Any]) -> object:
        self._pusher.hold()
        return {}

    async def _release_events(self, given: dict[str, Any]) -> object:
        return {"released": self._pusher.release(str(given.get("order", "as said")))}


def _times(given: dict[str, Any]) -> int:
    times = int(given.pop("times", 1))
    if not 1 <= times <= _MOST:
        raise ValueError(f"times must be from 1 to {_MOST}")
    return times
