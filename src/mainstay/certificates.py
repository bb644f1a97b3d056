"""Whose certificates does this process trust?

Whose the machine trusts. To read them takes longer than to connect, so the clients of a process share them.
"""

import functools
import ssl

import httpx2

__all__ = ["trusted"]


@functools.cache
def trusted() -> ssl.SSLContext:
    """For ``verify`` of each HTTP client of ours. Read at the first call; nothing comes from the environment."""
    return httpx2.create_ssl_context(trust_env=False)
