"""A provider behind a real listener."""

import logging
from collections.abc import AsyncIterator

import pytest

from mainstay.testing.provider import ServedProvider, served_provider


@pytest.fixture
async def provider(caplog: pytest.LogCaptureFixture) -> AsyncIterator[ServedProvider]:
    """No fault may upset the server itself."""
    async with served_provider() as provider:
        yield provider
    assert [entry.message for entry in caplog.records if entry.levelno >= logging.ERROR] == []
