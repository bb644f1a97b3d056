"""How do requests to models leave this process?

Through one client for all of them, apart from the platform's: a provider that holds on to its connections leaves
the platform its own. Apart from `mainstay.models.openai` too, so that a service is ready before an SDK is imported.
"""

import httpx2
import orjson

from mainstay.certificates import trusted

__all__ = ["model_client"]


def model_client() -> httpx2.AsyncClient:
    """The client. It has no limit of connections: each model has one, in `mainstay.recovery.bulkhead`."""
    unlimited = httpx2.Limits(max_connections=None)
    hooks = {"response": [_honest]}
    return httpx2.AsyncClient(verify=trusted(), trust_env=False, limits=unlimited, event_hooks=hooks)


async def _honest(response: httpx2.Response) -> None:
    """An error inside a 200, as gateways send it, gets the status that it should have had.

    What is streamed is left alone: the SDK reads an error between the pieces by itself.
    """
    if response.status_code != 200 or not response.headers.get("content-type", "").startswith("application/json"):
        return
    try:
        body = orjson.loads(await response.aread())
    except orjson.JSONDecodeError:
        return
    error = body.get("error") if isinstance(body, dict) and "choices" not in body else None
    if isinstance(error, dict):
        code = error.get("code")
        response.status_code = code if isinstance(code, int) and 400 <= code < 600 else 502
