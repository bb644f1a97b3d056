"""A project directory with a file, an environment and a .env, and nothing of this machine's own."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mainstay.config.load import load
from mainstay.config.model import Config
from mainstay.errors import ConfigError

Project = Callable[..., Config]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    def read(
        toml: str | None = None,
        environ: Mapping[str, str] | None = None,
        dotenv: str | None = None,
        flags: Mapping[str, str | None] | None = None,
    ) -> Config:
        if toml is not None:
            (tmp_path / "mainstay.toml").write_text(toml, "utf-8")
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv, "utf-8")
            (tmp_path / ".env").chmod(0o600)
        return load(directory=tmp_path, environ=environ or {}, flags=flags)

    return read


@pytest.fixture
def problems(project: Project) -> Callable[..., list[str]]:
    def read(*args: object, **kwargs: object) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            project(*args, **kwargs)
        return list(caught.value.problems)

    return read
