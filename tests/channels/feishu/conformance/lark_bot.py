"""Bots on the official Python SDK; see `bots.py` for what they read and write.

The SDK takes seconds to import, so that this stays, and forks a bot for each line that it reads.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time

import lark_oapi as lark
import lark_oapi.ws.client as connection
from lark_oapi.api.im.v1 import P2ImMessageReceiveV1, ReplyMessageRequest, ReplyMessageRequestBody
from lark_oapi.event.callback.model.p2_card_action_trigger import P2CardActionTrigger, P2CardActionTriggerResponse


def tell(**what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def main(domain: str, app_id: str, app_secret: str) -> None:
    client = lark.Client.builder().app_id(app_id).app_secret(app_secret).domain(domain).build()

    def reply(message_id: str, content: str) -> None:
        body = ReplyMessageRequestBody.builder().msg_type("text").content(content).build()
        client.im.v1.message.reply(ReplyMessageRequest.builder().message_id(message_id).request_body(body).build())

    def received(data: P2ImMessageReceiveV1) -> None:
        message = data.event.message
        text = json.loads(message.content)["text"]
        tell(got=message.message_id, text=text)
        if text.startswith("long"):
            time.sleep(4)
        threading.Thread(target=reply, args=(message.message_id, message.content)).start()

    def pressed(data: P2CardActionTrigger) -> P2CardActionTriggerResponse:
        tell(pressed=data.event.action.value)
        return P2CardActionTriggerResponse({"toast": {"type": "info", "content": "seen"}})

    handler = (
        lark.EventDispatcherHandler.builder("", "")
        .register_p2_im_message_receive_v1(received)
        .register_p2_card_action_trigger(pressed)
        .build()
    )
    connection.loop = asyncio.new_event_loop()  # the one that was made by the import is the parent's
    asyncio.set_event_loop(connection.loop)
    level = lark.LogLevel.CRITICAL
    tell(pid=os.getpid())
    lark.ws.Client(app_id, app_secret, event_handler=handler, domain=domain, log_level=level).start()


signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a bot that has ended
while line := sys.stdin.readline():
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            main(*line.split())
        finally:
            os._exit(1)
