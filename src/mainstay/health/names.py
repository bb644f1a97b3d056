"""How is whatever a caller passes turned into a name that can be counted and shown?

Nothing here raises: a name comes from code that is handling an error.
"""

import re

from mainstay.errors import Category

__all__ = ["MANAGER", "OTHER", "OVERFLOW", "agent_name", "category_name", "plain_text"]

MANAGER = "manager"
"""The agent that is always reported, also before its first call."""

OVERFLOW = "overflow"
"""Where agents are counted for which there is no room of their own."""

OTHER = "other"
"""Where errors are counted that nobody gave a category."""

_NAME_CHARS = 64
_WORD_STARTS = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_IN_NAMES = re.compile(r"[\W_]+")
_CATEGORIES = {category.value: category.value for category in Category} | {"auth_error": Category.AUTH.value}


def plain_text(value: object, limit: int) -> str:
    """``str(value)``, at most ``limit`` characters that can be encoded; the type's name if it has no text."""
    try:
        text = value if type(value) is str else f"{value!s}"
        return text[:limit].encode(errors="replace").decode()
    except Exception:  # noqa: BLE001  the object's own code
        return f"({type(value).__name__} without a text)"


def agent_name(value: object) -> str:
    """Lower snake case: ``"OKRReviewer"`` and ``"okr reviewer"`` are both ``okr_reviewer``."""
    if value is None:
        return "unknown"
    words = _WORD_STARTS.sub("_", plain_text(value, _NAME_CHARS))
    return _NOT_IN_NAMES.sub("_", words).strip("_").lower() or "unknown"


def category_name(value: object) -> str:
    """The category in lower case; ``other`` for what is none."""
    return _CATEGORIES.get(plain_text(value, _NAME_CHARS).strip().lower(), OTHER)
