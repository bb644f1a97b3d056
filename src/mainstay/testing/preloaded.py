"""What is ready in the process that is forked?

What services, sandboxes and commands import, and the certificates that each of them would read. It is kept out of
their garbage collections, which would go through all of it, and copy it, in each fork.
"""

import gc
from importlib import import_module

from mainstay.certificates import trusted

__all__: list[str] = []

for name in (
    "mainstay.testing.dying",
    "mainstay.sandbox.__main__",
    "mainstay.sandbox.server",
    "mainstay.agents.responder",
    "mainstay.channels.console.channel",
    "mainstay.channels.feishu.joined",
    "openai.resources.chat",
    "genai_prices.data",
    "anyio._backends._asyncio",
):
    import_module(name)
trusted()
gc.collect()
gc.freeze()
