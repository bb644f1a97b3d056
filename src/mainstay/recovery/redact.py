"""What of an error's text may be logged, stored and shown?

One line of at most 200 characters without credentials, addresses of people, or control characters.
"""

import re
from typing import Final

__all__ = ["LONGEST", "redact"]

LONGEST: Final = 200

_SECRETS: Final = re.compile(
    r"""
      (?i:\b(?:bearer|basic)\s+[\w.~+/=*-]{4,})                                 # authorization headers
    | (?i:(?P<name>\b(?:api[-_ ]?key|access[-_]?token|token|secret|password|authorization|key)\b
        ["']?\s*[:=]\s*["']?)[^\s"',;&}]{4,})                                   # name=value, "name": "value"
    | \b(?:sk|pk|rk|ak|gsk|xai|key)-[\w*.-]{4,}                                 # the providers' own prefixes
    | \bAIza[\w-]{10,}
    | \beyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?                                          # JSON web tokens
    | (?<=://)[^\s/@]+@                                                         # user:password@host
    | [\w.+-]+@[\w-]+\.[\w.-]+                                                  # mail addresses
    | \b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[A-Za-z0-9_-]{32,}\b                      # anything long and random
    """,
    re.VERBOSE,
)


def redact(text: str, *, longest: int = LONGEST) -> str:
    """The text as one line, credentials replaced by ``***``."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 20 * longest]).split())
    line = _SECRETS.sub(lambda match: f"{match['name'] or ''}***", line)
    return line if len(line) <= longest else line[: longest - 1] + "…"
