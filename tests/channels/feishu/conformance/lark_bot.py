"""A bot on the official Python SDK; see `bots.py` for what it reads and writes."""

import json
import sys

import lark_oapi as lark
from lark_oapi.event.callback.model.p2_card_action_trigger import P2CardActionTrigger, P2CardActionTriggerResponse


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


def received(data: lark.im.v1.P2ImMessageReceiveV1) -> None:
    tell(got=data.event.message.message_id, content=data.event.message.content)


def pressed(data: P2CardActionTrigger) -> P2CardActionTriggerResponse:
    tell(pressed=data.event.action.value)
    return P2CardActionTriggerResponse({"toast": {"type": "info", "content": "seen"}})


def main(domain: str, app_id: str, app_secret: str) -> None:
    handler = (
        lark.EventDispatcherHandler.builder("", "")
        .register_p2_im_message_receive_v1(received)
        .register_p2_card_action_trigger(pressed)
        .build()
    )
    client = lark.ws.Client(
        app_id, app_secret, event_handler=handler, domain=domain, log_level=lark.LogLevel.CRITICAL
    )
    tell(loaded=True)
    client.start()


main(*sys.argv[1:])
