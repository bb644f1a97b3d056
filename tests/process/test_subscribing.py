"""A service that lives in the sandbox is reached by it, also where its first answer comes too late."""

import asyncio
import json
from pathlib import Path

import pytest

from mainstay.config.load import load
from mainstay.sandbox.client import SandboxClient, SandboxError
from mainstay.sandbox.model import SandboxSettings
from mainstay.sandbox.process import stop
from mainstay.service import _subscribe
from mainstay.testing.project import forked_sandbox

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("failures", "is_subscribed"), [(0, True), (2, True), (3, False)])
async def test_a_challenge_that_was_not_answered_is_asked_for_again(
    failures: int, is_subscribed: bool, tmp_path: Path
) -> None:
    answers = iter([503] * failures + [200] * 3)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        challenge = json.loads(await reader.readexactly(length))["challenge"]
        body = json.dumps({"challenge": challenge}).encode()
        writer.write(b"HTTP/1.1 %d -\r\nConnection: close\r\n" % next(answers))
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    (tmp_path / "mainstay.toml").write_text('[channels.feishu]\nmode = "webhook"\n')
    address = await forked_sandbox(tmp_path, SandboxSettings())
    try:
        async with SandboxClient(address) as client, await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            await client.options(encrypt=False)
            host, port = server.sockets[0].getsockname()
            subscribing = _subscribe(address, load(directory=tmp_path, environ={}), f"http://{host}:{port}")
            if is_subscribed:
                await subscribing
            else:
                with pytest.raises(SandboxError):
                    await subscribing
            assert bool((await client.state())["url"]) == is_subscribed
    finally:
        await stop(address)
