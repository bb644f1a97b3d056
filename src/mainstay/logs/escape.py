"""How does a text stay on its line, and drive no terminal?"""

import re
from typing import Final

__all__ = ["UNPRINTABLE", "escape"]

# C0 and C1 controls, the Unicode line breaks, and the marks that reorder what a terminal shows.
UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape(text: str) -> str:
    """The text on one line, with what does not print written as Python would."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
