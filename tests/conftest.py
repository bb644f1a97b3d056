"""What every test shares."""

import functools
import os
import types
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import httpcore2
import pytest

from mainstay.notify import MARKER


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def pytest_configure() -> None:
    """Each client reads the certificates of the machine, for longer than many a test lasts: here one does."""
    httpcore2.default_ssl_context = functools.cache(httpcore2.default_ssl_context)


@pytest.fixture(scope="session")
def lark() -> types.ModuleType:
    """The platform's official SDK.

    Imported late, because it takes two seconds, and in a thread of its own, because it takes over its loop.
    """

    def load() -> types.ModuleType:
        client = import_module("lark_oapi.ws.client")
        client.loop.close()  # made by the import, and never closed
        for name in ("lark_oapi.api.cardkit.v1", "lark_oapi.api.im.v1"):
            import_module(name)
        return import_module("lark_oapi")

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


@pytest.fixture(scope="session", autouse=True)
def nobody_is_left(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """No program that a supervisor has started in one of these tests lives on when they are over."""
    yield
    marker, here = f"{MARKER}=".encode(), f"@{tmp_path_factory.getbasetemp()}/".encode()
    left = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (entry / "environ").read_bytes().split(b"\0")
            left[entry.name] = [each for each in variables if each.startswith(marker) and here in each]
    assert not {pid: who for pid, who in left.items() if who}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin first, so that no core has to wait for another one's at the end."""
    items.sort(key=lambda item: ("process" not in item.path.parts, "supervisor" not in item.path.parts))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With MAINSTAY_REQUIRE_ALL=1 (in CI) a skipped test is a failure: what it needs has to be there."""
    report = yield
    if report.skipped and os.environ.get("MAINSTAY_REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but MAINSTAY_REQUIRE_ALL=1: {report.longrepr}"
    return report
