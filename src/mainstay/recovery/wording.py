"""How is an error's text put into one line that may be logged, stored and shown?"""

import re
from typing import Final

from mainstay.logs.redact import redact

__all__ = ["LONGEST", "beginning", "one_line"]

LONGEST: Final = 200

_CUT_WORD: Final = re.compile(r"\S+$")


def one_line(text: str, *, longest: int = LONGEST) -> str:
    """The text without secrets, control characters and halves of characters, at most ``longest`` characters.

    Secrets are masked before white space is drawn together and after it, as either may hide one from the other.
    """
    masked = redact(beginning(text, 20 * longest))
    printable = "".join(char if char.isprintable() else " " for char in masked)
    line = redact(" ".join(printable.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def beginning(text: str, longest: int) -> str:
    """What is read of a text; the word at which it is cut is left out, as it may be half a secret."""
    return text if len(text) <= longest else _CUT_WORD.sub("", text[:longest])
