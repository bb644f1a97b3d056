"""How is an error's text put into one line that may be logged, stored and shown?"""

from typing import Final

from mainstay.logs.redact import redact

__all__ = ["LONGEST", "one_line"]

LONGEST: Final = 200


def one_line(text: str, *, longest: int = LONGEST) -> str:
    """The text without secrets and control characters, at most ``longest`` characters."""
    line = redact(" ".join("".join(char if char.isprintable() else " " for char in text[: 20 * longest]).split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"
