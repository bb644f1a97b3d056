"""What have providers been seen to answer?

Bodies out of public issue threads and documentation, each with its ``source``; names of accounts are left out.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mainstay.errors import Category
from mainstay.recovery.model import TRAITS, Traits

PROVIDERS = ("openai", "anthropic", "gemini", "openrouter", "azure", "feishu")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An answer, and what is known about it; no status was recorded where it is None."""

    name: str
    status: int | None
    headers: dict[str, str] = field(default_factory=dict)
    body: object
    category: str
    delay: float | None = None
    traits: dict[str, int] | None = None
    message: str = ""
    source: str

    def expected(self) -> tuple[Category, float | None, Traits]:
        category = Category(self.category)
        return category, self.delay, Traits(**self.traits) if self.traits else TRAITS[category]


def recorded(*providers: str) -> list[object]:
    """Each body as a parameter of a test, named after its provider."""
    return [
        pytest.param(provider, Recorded(**row), id=f"{provider}: {row['name']}")
        for provider in providers or PROVIDERS
        for row in json.loads((Path(__file__).parent / "bodies" / f"{provider}.json").read_text("utf-8"))
    ]
