"""How is a call timed, classified and counted by the code that makes it?"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar, cast

from mainstay.errors import Category

__all__ = ["Call", "Recorder"]

P = ParamSpec("P")
R = TypeVar("R")


class Recorder(Protocol):
    """What a call is recorded with: a `mainstay.health.monitor.HealthMonitor`."""

    def track_agent_call(self, agent: str, latency_ms: float, success: bool, *, root: bool = True) -> None:  # noqa: FBT001
        """Count the call."""
        ...

    def track_error(self, category: str, message: object = "") -> None:
        """Count the error."""
        ...


class Call:
    """``with``, ``async with``, or a decorator for functions of all kinds, generators included.

    An exception counts as a failed call and as one error, by its category, and goes on to the caller. What is
    cancelled, closed before its end or ended by the exit of the process is not counted at all. A generator counts
    once, when it is used up: the time includes that of its consumer.

    One object times one block at a time; a decorated function may run any number of times at once.
    """

    def __init__(self, recorder: Recorder, agent: str, *, root: bool, now: Callable[[], float]) -> None:
        self._recorder = recorder
        self._agent = agent
        self._root = root
        self._now = now
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = self._now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        latency_ms = (self._now() - self._began) * 1000
        if error is None:
            self._recorder.track_agent_call(self._agent, latency_ms, success=True, root=self._root)
        elif isinstance(error, Exception):  # not cancelled, nor a closed generator, nor the end of the process
            category, message = _classify(error)
            if category is not Category.CANCELLED:
                self._recorder.track_agent_call(self._agent, latency_ms, success=False, root=self._root)
                self._recorder.track_error(category, message)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Count each call of ``function``."""
        if inspect.isasyncgenfunction(function):
            wrapper = self._stream(function)
        elif inspect.isgeneratorfunction(function):
            wrapper = self._generator(function)
        elif inspect.iscoroutinefunction(function):
            wrapper = self._coroutine(function)
        else:
            wrapper = self._function(function)
        return cast("Callable[P, R]", functools.wraps(function)(wrapper))

    def _again(self) -> "Call":
        return Call(self._recorder, self._agent, root=self._root, now=self._now)

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object, **kwargs: object) -> object:
            with self._again():
                return function(*args, **kwargs)

        return call

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: object, **kwargs: object) -> object:
            with self._again():
                return await function(*args, **kwargs)

        return call

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object, **kwargs: object) -> Generator[Any, Any, Any]:
            with self._again():
                return (yield from function(*args, **kwargs))

        return call

    def _stream(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: object, **kwargs: object) -> AsyncGenerator[Any, None]:
            with self._again():
                async with aclosing(function(*args, **kwargs)) as items:
                    async for item in items:
                        yield item

        return call


def _classify(error: Exception) -> tuple[Category, object]:
    try:
        from mainstay.recovery.classify import classify

        failure = classify(error)
    except Exception:  # noqa: BLE001  the error that is being handled matters, not one about its name
        return Category.INTERNAL, error
    return failure.category, failure.message
