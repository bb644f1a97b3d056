"""A backup that was made while the service answered is the service's again after a restore."""

from pathlib import Path

import pytest
from tests.process.test_supervised import typed

from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import project

pytestmark = pytest.mark.anyio


@pytest.mark.timeout(300)  # a dozen commands, one after the other
async def test_what_was_said_before_the_backup_is_remembered_and_what_came_after_is_not(tmp_path: Path) -> None:
    async with project(tmp_path, sandbox=SandboxSettings(tokens_per_second=1000)) as made:
        assert "feishu-agent:0  ready" in await typed(made.directory, "start")
        try:
            await typed(made.directory, "ask", "the first")
            await typed(made.directory, "backup", "b.db")
            await typed(made.directory, "ask", "the second")
            await typed(made.directory, "restore", "b.db", code=1)
            await typed(made.directory, "stop")
            assert "kept: " in await typed(made.directory, "restore", "b.db")
            await typed(made.directory, "start")
            assert "Before that you wrote: “the first”" in await typed(made.directory, "ask", "the third")
        finally:
            await typed(made.directory, "kill", code=None)
