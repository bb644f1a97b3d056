"""What every test shares."""

import os
from collections.abc import Generator

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


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
