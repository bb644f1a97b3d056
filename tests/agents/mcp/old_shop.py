"""An MCP server of before 2026, without an SDK, and without manners where a test wants it so.

``python old_shop.py JOURNAL [stubborn | large]``: a stubborn one ends neither with its input nor by SIGTERM; a
large one says more about its tools than anybody wants to hear.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

JOURNAL = Path(sys.argv[1])
TOOLS = ["price", "block", "ask", "rename", "garbage"]
OBJECT = {"type": "object"}
TOME = OBJECT | {"properties": {f"p{number}": {"type": "string"} for number in range(20_000)}}
ASKED = {
    "sampling/createMessage": {"messages": [], "maxTokens": 1},
    "elicitation/create": {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}},
    "roots/list": None,
}


def did(what: str) -> None:
    with JOURNAL.open("a") as lines:
        lines.write(f"{what}\n")


def send(**message: object) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def call(name: str) -> str:
    did(name)
    if name == "block":
        time.sleep(3600)
    if name == "rename":
        TOOLS.append("novelty")
        send(method="notifications/tools/list_changed")
    if name == "ask":
        for number, (method, params) in enumerate(ASKED.items()):
            send(id=f"ask-{number}", method=method, **({"params": params} if params else {}))
        answers = [json.loads(sys.stdin.readline()) for _ in ASKED]
        return ", ".join(answer["error"]["message"] for answer in answers)
    return f"{name} done"


def library(page: int) -> dict[str, object]:
    tools = [
        {"name": f"tome-{page}", "inputSchema": TOME},
        {"name": "x" * 300_000, "inputSchema": OBJECT},
        {"name": f"t{page}", "description": "x" * 300_000, "inputSchema": OBJECT},
    ]
    return {"tools": tools} | ({"nextCursor": str(page + 1)} if page < 20 else {})


def answer(method: str, params: dict[str, object]) -> dict[str, object] | None:
    if method == "initialize":
        return {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "old", "version": "1"},
        }
    if method == "tools/list":
        bent = {"name": "bent", "inputSchema": {"type": "object", "properties": {"a": {"type": "strange"}}}}
        if "large" in sys.argv:
            return library(int(str(params.get("cursor", 0))))
        return {"tools": [bent, *({"name": name, "inputSchema": {"type": "object"}} for name in TOOLS)]}
    if method == "tools/call":
        name = str(params["name"])
        if name == "garbage":
            return {"content": "no list"}
        return {"content": [{"type": "text", "text": call(name)}]}
    return None


def main() -> None:
    did(f"started {os.getpid()}")
    print("Starting the old shop …", flush=True)
    stubborn = "stubborn" in sys.argv
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            did(message["method"])
        elif (result := answer(message["method"], message.get("params", {}))) is not None:
            send(id=message["id"], result=result)
        else:
            send(id=message["id"], error={"code": -32601, "message": "Method not found"})
    if stubborn:
        time.sleep(3600)


main()
