"""A bot with which a test has failed is not used for another one."""

from collections.abc import Generator

import pytest
from tests.channels.feishu.conformance.bots import Bot


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    client = getattr(item, "funcargs", {}).get("client")
    if isinstance(client, Bot) and not report.passed:
        client.broken = True
    return report
