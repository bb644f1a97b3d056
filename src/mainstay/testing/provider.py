"""How does a test talk to a model that misbehaves on command, over real HTTP?

::

    async with served_provider() as provider:
        provider.faults.inject("cut", times=1, after_tokens=3)
        ...  # point any OpenAI client at provider.url
        assert (await provider.ended(1)).ending == "faulted"
"""

import asyncio
import math
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

import uvicorn

from mainstay.clock import Clock, SystemClock
from mainstay.sandbox.provider.faults import FaultPlan
from mainstay.sandbox.provider.http import provider_app
from mainstay.sandbox.provider.model import ProviderSettings
from mainstay.sandbox.provider.record import Call, ProviderRecord

__all__ = ["AT_ONCE", "ServedProvider", "served_provider"]

AT_ONCE: Final = ProviderSettings(tokens_per_second=math.inf, ping_interval_s=0.01)
"""No time between tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedProvider:
    """A provider that listens on loopback; ``url`` ends in ``/v1``, and ``token`` is its API key."""

    url: str
    port: int
    token: str
    faults: FaultPlan
    record: ProviderRecord

    async def ended(self, number: int) -> Call:
        """The call of this number (the first is 1), when it has ended. Raises TimeoutError after 10 s."""
        async with asyncio.timeout(10):
            while True:
                call = next((call for call in self.record.calls if call.number == number), None)
                if call is not None and call.ending != "open":
                    return call
                await asyncio.sleep(0.005)


@asynccontextmanager
async def served_provider(
    name: str = "primary",
    *,
    settings: ProviderSettings = AT_ONCE,
    clock: Clock | None = None,
    http: Literal["auto", "h11", "httptools"] = "auto",
) -> AsyncGenerator[ServedProvider, None]:
    """Serve one model on a free port, as the sandbox does; calls that are open at the end are cut off."""
    clock, token = clock or SystemClock(), "sandbox-key"
    faults, record = FaultPlan(clock), ProviderRecord()
    app = provider_app(name, faults=faults, record=record, clock=clock, token=token, settings=settings)
    config = uvicorn.Config(app, http=http, log_config=None, access_log=False, lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # With the protocol named, asyncio switches Nagle's algorithm off; else a cut takes back what was just sent.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        port = listener.getsockname()[1]
        # Not `serve` and `shutdown`: they take over the signals of the process, and sleep for 0.1 s at a time.
        await server.startup([listener])
        try:
            yield ServedProvider(
                url=f"http://127.0.0.1:{port}/v1", port=port, token=token, faults=faults, record=record
            )
        finally:
            for listening in server.servers:
                listening.close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await asyncio.gather(*server.server_state.tasks)
