"""How does each peer guard an async function?

A guard takes an async function and gives the guarded one. They are set up as alike as they allow: five failures
open, one success closes, and the pause is given. What is not installed raises ImportError when it is asked for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import wraps

from mainstay.recovery.breaker.model import BreakerSettings
from mainstay.recovery.breaker.permits import Breaker

__all__ = ["BREAKERS", "FAILURES", "STACKS", "Async", "Guard", "mainstay"]

Async = Callable[[], Awaitable[object]]
Guard = Callable[[Async], Async]

FAILURES = 5
ATTEMPTS = 3
TIMEOUT_S = 30.0


def mainstay(pause_s: float) -> Breaker:
    settings = BreakerSettings(min_calls=FAILURES, open_time=pause_s, jitter=0.0)
    return Breaker("bench", settings, slow_after_s=20.0)


def _circuitbreaker(pause_s: float) -> Guard:
    from circuitbreaker import CircuitBreaker

    return CircuitBreaker(failure_threshold=FAILURES, recovery_timeout=pause_s)


def _pyresilience(pause_s: float) -> Guard:
    from pyresilience import CircuitBreakerConfig, resilient

    config = CircuitBreakerConfig(failure_threshold=FAILURES, recovery_timeout=pause_s, success_threshold=1)
    return resilient(circuit_breaker=config)


def _pyresilience_window(pause_s: float) -> Guard:
    from pyresilience import CircuitBreakerConfig, resilient

    config = CircuitBreakerConfig(
        recovery_timeout=pause_s,
        success_threshold=1,
        sliding_window_size=20,
        minimum_calls=FAILURES,
        slow_call_duration=20.0,
        slow_call_rate_threshold=0.8,
    )
    return resilient(circuit_breaker=config)


def _hyx(pause_s: float) -> Guard:
    from hyx.circuitbreaker import consecutive_breaker

    return consecutive_breaker(failure_threshold=FAILURES, recovery_time_secs=pause_s, recovery_threshold=1)


def _aiobreaker(pause_s: float) -> Guard:
    from aiobreaker import CircuitBreaker

    breaker = CircuitBreaker(fail_max=FAILURES, timeout_duration=timedelta(seconds=pause_s))
    return lambda call: lambda: breaker.call_async(call)


def _purgatory(pause_s: float) -> Guard:
    from purgatory import AsyncCircuitBreakerFactory

    return AsyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=pause_s)("bench")


def _pybreaker(pause_s: float) -> Guard:
    import tornado  # noqa: F401  without it there is no guard for an await
    from pybreaker import CircuitBreaker

    breaker = CircuitBreaker(fail_max=FAILURES, reset_timeout=pause_s)
    return lambda call: lambda: breaker.call_async(call)


BREAKERS: dict[str, Callable[[float], Guard]] = {
    "circuitbreaker": _circuitbreaker,
    "hyx": _hyx,
    "aiobreaker": _aiobreaker,
    "purgatory": _purgatory,
    "pyresilience, failures in a row": _pyresilience,
    "pyresilience, window and slow calls": _pyresilience_window,
    "pybreaker (tornado)": _pybreaker,
}


# Three attempts, each with a breaker and a timeout of its own.


def _pyresilience_stack() -> Guard:
    from pyresilience import CircuitBreakerConfig, RetryConfig, TimeoutConfig, resilient

    return resilient(
        retry=RetryConfig(max_attempts=ATTEMPTS),
        timeout=TimeoutConfig(seconds=TIMEOUT_S),
        circuit_breaker=CircuitBreakerConfig(failure_threshold=FAILURES),
    )


def _hyx_stack() -> Guard:
    from hyx.circuitbreaker import consecutive_breaker
    from hyx.retry import retry
    from hyx.timeout import timeout

    attempts, breaker = retry(attempts=ATTEMPTS), consecutive_breaker(failure_threshold=FAILURES)

    def guard(call: Async) -> Async:
        async def attempt() -> object:
            async with timeout(TIMEOUT_S):  # its decorator wants a running loop already
                return await call()

        return attempts(breaker(attempt))

    return guard


def _guarded_attempt(call: Async) -> Async:
    from circuitbreaker import CircuitBreaker

    async def attempt() -> object:
        async with asyncio.timeout(TIMEOUT_S):
            return await call()

    return CircuitBreaker(failure_threshold=FAILURES)(wraps(call)(attempt))


def _tenacity_stack() -> Guard:
    from tenacity import retry, stop_after_attempt, wait_exponential_jitter

    attempts = retry(stop=stop_after_attempt(ATTEMPTS), wait=wait_exponential_jitter(), reraise=True)
    return lambda call: attempts(_guarded_attempt(call))


def _stamina_stack() -> Guard:
    from stamina import retry

    attempts = retry(on=Exception, attempts=ATTEMPTS)
    return lambda call: attempts(_guarded_attempt(call))


def _backoff_stack() -> Guard:
    from backoff import expo, on_exception

    attempts = on_exception(expo, Exception, max_tries=ATTEMPTS)
    return lambda call: attempts(_guarded_attempt(call))


STACKS: dict[str, Callable[[], Guard]] = {
    "pyresilience": _pyresilience_stack,
    "hyx": _hyx_stack,
    "stamina + circuitbreaker + asyncio.timeout": _stamina_stack,
    "tenacity + circuitbreaker + asyncio.timeout": _tenacity_stack,
    "backoff + circuitbreaker + asyncio.timeout": _backoff_stack,
}
