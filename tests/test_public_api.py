"""What a user may import, and what it costs."""

import subprocess
import sys
import typing
from importlib.resources import files
from pathlib import Path

import pytest

import mainstay


def fresh(code: str) -> str:
    """The output of a new interpreter."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_there_are_at_most_fifteen_names_and_each_can_be_imported() -> None:
    assert len(mainstay.__all__) <= 15
    assert list(mainstay.__all__) == sorted(mainstay.__all__)
    for name in mainstay.__all__:
        assert getattr(mainstay, name) is not None
        assert name in dir(mainstay)


def test_what_the_type_checker_is_told_is_what_there_is() -> None:
    assert set(mainstay._HOMES) == set(mainstay.__all__)
    promised = Path(mainstay.__file__).read_text().partition("if TYPE_CHECKING:\n")[2].partition("\n\n")[0]
    for name, home in mainstay._HOMES.items():
        (line,) = (line for line in promised.splitlines() if f"from {home} import" in line)
        assert name in line.partition("import ")[2].split(", ")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mainstay' has no attribute 'nothing'"):
        mainstay.nothing  # noqa: B018


def test_importing_mainstay_imports_no_room() -> None:
    loaded = fresh("import sys, mainstay; print(*[m for m in sys.modules if m.startswith('mainstay')])").split()
    assert loaded == ["mainstay"]


def test_the_monitor_needs_no_framework() -> None:
    loaded = fresh("import sys; from mainstay import HealthMonitor, health_monitor; print(*sys.modules)").split()
    frameworks = {"pydantic", "pydantic_ai", "starlette", "uvicorn", "sqlalchemy", "httpx2", "openai", "asyncio"}
    assert not frameworks & set(loaded)


def test_the_docstring_is_a_map_of_every_room() -> None:
    rooms = {
        path.name.removesuffix(".py")
        for path in files("mainstay").iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    }
    words = set((mainstay.__doc__ or "").replace("`", " ").split())
    assert rooms - words == set()


def test_a_monitor_works_as_the_readme_says() -> None:
    monitor = mainstay.HealthMonitor()
    monitor.track_agent_call("Manager", 12.5, True)
    monitor.track_error("RATE_LIMIT", "kwaipilot rate limited")
    with monitor.call("manager"):
        pass
    assert monitor.get_metrics()["agents"]["manager"]["callCount"] == 2
    assert callable(monitor.asgi())
    assert typing.get_type_hints(mainstay.HealthMonitor.track_agent_call)["return"] is type(None)
