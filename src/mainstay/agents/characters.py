"""What if a stream cuts a character in two?

JSON can write half of a surrogate pair, and providers that count in UTF-16 end a piece in the middle of an emoji.
Such a half is no Unicode: no database, record or platform takes it.
"""

from codecs import getincrementaldecoder

__all__ = ["Characters", "whole"]


class Characters:
    """Passes on the text of one stream with its halves joined; a lone half becomes U+FFFD."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-16-le")("replace")

    def feed(self, text: str, *, end: bool = False) -> str:
        """What is complete of the text so far; the first half of a pair is held back until ``end``."""
        return self._decoder.decode(text.encode("utf-16-le", "surrogatepass"), end)


def whole(text: str) -> str:
    """The text as `Characters` passes it on, all at once."""
    return Characters().feed(text, end=True)
