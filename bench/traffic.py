"""What does the platform send, and when is it acknowledged?

Messages are sealed and signed here, not by the sandbox, and sent on a fixed schedule. A latency is counted from the
*scheduled* time, so that a service that stalls can not hide it by slowing the sender down.
"""

import asyncio
import base64
import gc
import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from mainstay.channels.feishu.crypto import decrypt
from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import SaidMessage, SandboxAddress

__all__ = ["KINDS", "Sender", "Sent", "percentile", "say", "status_of", "webhook"]

KINDS = ("keep-alive", "new connection")
_HEAD = b"POST /webhook/event HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: seconds from its scheduled time to the acknowledgement, and how late its sending was."""

    kind: str
    seconds: float
    late_s: float
    status: int


def webhook(address: SandboxAddress, message: SaidMessage) -> bytes:
    """The whole HTTP request that brings a message, encrypted and signed as the platform does it."""
    now_ms = str(time.time_ns() // 1_000_000)
    header = {
        "event_id": secrets.token_hex(16),
        "event_type": "im.message.receive_v1",
        "create_time": now_ms,
        "token": address.verification_token,
        "app_id": address.app_id,
        "tenant_key": "tk1",
    }
    said = {
        "message_id": message.message_id,
        "create_time": now_ms,
        "chat_id": message.chat_id,
        "chat_type": "p2p",
        "message_type": "text",
        "content": json.dumps({"text": message.text}),
    }
    sender = {"sender_id": {"open_id": message.sender_id}, "sender_type": "user", "tenant_key": "tk1"}
    plain = json.dumps({"schema": "2.0", "header": header, "event": {"sender": sender, "message": said}}).encode()
    padder, iv = PKCS7(128).padder(), secrets.token_bytes(16)
    sealer = Cipher(
        algorithms.AES(hashlib.sha256(address.encrypt_key.encode()).digest()), modes.CBC(iv)
    ).encryptor()
    sealed = iv + sealer.update(padder.update(plain) + padder.finalize()) + sealer.finalize()
    body = json.dumps({"encrypt": base64.b64encode(sealed).decode()}).encode()
    timestamp, nonce = now_ms[:-3], secrets.token_hex(8)
    signature = hashlib.sha256(f"{timestamp}{nonce}{address.encrypt_key}".encode() + body).hexdigest()
    signed = (
        f"x-lark-request-timestamp: {timestamp}\r\nx-lark-request-nonce: {nonce}\r\n"
        f"x-lark-signature: {signature}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return _HEAD + signed.encode() + body


async def say(sandbox: SandboxClient, count: int, *, conversations: int = 0) -> list[SaidMessage]:
    """Messages that the platform knows and that nobody has brought to the service.

    They are spread over as many chats; each is in a chat of its own if nothing is said.
    """

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"
                )
                sealed = json.loads(await reader.readexactly(length))["encrypt"]
                challenge = json.loads(decrypt(sandbox.address.encrypt_key, sealed)).get("challenge", "")
                answer = json.dumps({"challenge": challenge}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await sink(reader, writer)

    async with await asyncio.start_server(quiet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await sandbox.subscribe(f"http://127.0.0.1:{port}/")
        chats = [f"oc_{secrets.token_hex(16)}" for _ in range(conversations or count)]
        said = (chats[number % len(chats)] for number in range(count))
        return [await sandbox.say("hello", chat=chat, sender=f"ou_{chat[3:11]}") for chat in said]


class Sender:
    """Sends requests on a schedule, whatever becomes of them: every second one on a new connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self, requests: Sequence[bytes], *, per_second: float) -> list[Sent]:
        """Begin one request each ``1 / per_second``; returns when all are answered."""
        gc.collect()
        gc.disable()
        try:
            began_s = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                tasks = []
                for number, request in enumerate(requests):
                    due_s = began_s + number / per_second
                    await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                    kind = KINDS[number % 2]
                    tasks.append(group.create_task(self._send(request, due_s, kind)))
            return [task.result() for task in tasks]
        finally:
            gc.enable()
            for _, writer in self._idle:
                writer.close()
            self._idle.clear()

    async def _send(self, request: bytes, due_s: float, kind: str) -> Sent:
        late_s = time.perf_counter() - due_s
        reused = kind == KINDS[0] and bool(self._idle)
        connection = self._idle.pop() if reused else await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = connection
        writer.write(request)
        status = await status_of(reader)
        seconds = time.perf_counter() - due_s
        if kind == KINDS[0]:
            self._idle.append(connection)
        else:
            writer.close()
        return Sent(kind, seconds, late_s, status)


async def status_of(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
    await reader.readexactly(length)
    return int(head[9:12])


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(percent * 10) // 1000) - 1)]
