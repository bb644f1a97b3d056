"""Where does the platform want to be connected to?

One question, with the app's secret; the answer has an address with a ticket in it that is good for one connection.
"""

import asyncio

import httpx2
import orjson

from mainstay.channels.feishu.connection.machine import read_endpoint
from mainstay.channels.feishu.connection.model import Endpoint, Failure, FailureKind
from mainstay.channels.feishu.model import FeishuSettings

__all__ = ["ask"]

_PATH = "/callback/ws/endpoint"


async def ask(settings: FeishuSettings, http: httpx2.AsyncClient) -> Endpoint | Failure:
    """Ask once."""
    asked = orjson.dumps({"AppID": settings.app_id, "AppSecret": settings.app_secret.reveal()})
    headers = {"content-type": "application/json; charset=utf-8", "locale": "en"}
    timeout = httpx2.Timeout(settings.request_timeout, connect=settings.connect_timeout)
    try:
        async with asyncio.timeout(settings.request_timeout):
            answer = await http.post(settings.domain + _PATH, content=asked, headers=headers, timeout=timeout)
    except (TimeoutError, httpx2.TimeoutException):
        return Failure(FailureKind.TRANSIENT, "the platform does not say in time where to connect to")
    except httpx2.HTTPError as error:
        return Failure(FailureKind.TRANSIENT, f"the platform is not reached ({type(error).__name__})")
    return read_endpoint(answer.status_code, answer.content)
