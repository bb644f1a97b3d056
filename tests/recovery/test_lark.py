"""What Feishu's official SDK makes of its answers says the same as the answers themselves."""

import json
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any

import pytest
from tests.recovery.recorded import Recorded, recorded

from mainstay.errors import Category
from mainstay.recovery.classify import classify

TOKEN = {"code": 0, "msg": "ok", "tenant_access_token": "t-0", "expire": 7200}


@pytest.fixture(scope="module")
def lark() -> types.ModuleType:
    """Imported late, because it takes two seconds, and in a thread of its own, because it takes over its loop."""

    def load() -> types.ModuleType:
        client = import_module("lark_oapi.ws.client")
        client.loop.close()  # made by the import, and never closed
        import_module("lark_oapi.api.im.v1")
        return import_module("lark_oapi")

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


class Platform:
    """Answers one thing to whatever is asked but for the token."""

    def __init__(self) -> None:
        self.token: object = TOKEN
        self.answer = Recorded(name="", status=200, body={}, category="internal", source="")
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                about_token = "tenant_access_token" in self.path
                answer, body = platform.answer, platform.token if about_token else platform.answer.body
                self.send_response(200 if about_token else answer.status or 200)
                for name, value in ({} if about_token else answer.headers).items():
                    self.send_header(name, value)
                content = json.dumps(body).encode()
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    platform = Platform()
    thread = threading.Thread(target=platform.server.serve_forever)
    thread.start()
    try:
        yield platform
    finally:
        platform.server.shutdown()
        thread.join()
        platform.server.server_close()


def send(lark: types.ModuleType, platform: Platform, app: int = 0) -> Any:  # noqa: ANN401  the SDK is untyped
    im = import_module("lark_oapi.api.im.v1")
    app_id = f"cli_{app:016x}"  # the SDK keeps its tokens by this
    client = lark.Client.builder().app_id(app_id).app_secret("x").domain(platform.url).build()
    body = im.CreateMessageRequestBody.builder().receive_id("oc_0").msg_type("text").content("{}").build()
    request = im.CreateMessageRequest.builder().receive_id_type("chat_id").request_body(body).build()
    return client.im.v1.message.create(request)


@pytest.mark.parametrize(("provider", "answer"), recorded("feishu"))
def test_an_answer_means_the_same_through_the_sdk(
    lark: types.ModuleType, platform: Platform, provider: str, answer: Recorded
) -> None:
    platform.answer, platform.token = answer, TOKEN
    response = send(lark, platform)
    assert not response.success()
    raw = response.raw
    failure = classify(status=raw.status_code, headers=raw.headers, body=raw.content)
    assert (failure.category, failure.retry_after_s, failure.traits) == answer.expected()
    assert failure.message.startswith(
        f"HTTP {answer.status}: code {response.code}: " if answer.status != 200 else "code"
    )
    by_fields = classify(status=raw.status_code, body={"code": response.code, "msg": response.msg})
    assert by_fields.category is failure.category


@pytest.mark.parametrize(
    ("code", "category"),
    [
        (10014, Category.AUTH),
        (10015, Category.AUTH),
        (99991400, Category.RATE_LIMIT),
        (1500, Category.SERVER_ERROR),
    ],
)
def test_a_refused_token_means_the_same_through_the_exception_of_the_sdk(
    lark: types.ModuleType, platform: Platform, code: int, category: Category
) -> None:
    platform.token = {"code": code, "msg": "no"}
    with pytest.raises(Exception, match="no") as raised:
        send(lark, platform, app=code)
    assert type(raised.value).__name__ == "ObtainAccessTokenException"
    assert classify(raised.value).category is category
