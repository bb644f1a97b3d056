"""What of a model's text is thought, and not for the person?

Models without a field for it write ``<think>…</think>`` into the text, and a stream may cut the tags anywhere.
"""

__all__ = ["ThoughtFilter", "without_thoughts"]

_OPEN = "<think>"
_CLOSE = "</think>"


class ThoughtFilter:
    """Passes on the text of one stream, without the blocks of thought and the blank lines after them."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._skip_blank = False

    def feed(self, text: str) -> str:
        """What of the text so far may be shown now; the beginning of a possible tag is held back."""
        self._held += text
        shown: list[str] = []
        while True:
            tag = _CLOSE if self._thinking else _OPEN
            before, found, after = self._held.partition(tag)
            if not found:
                break
            if not self._thinking:
                shown.append(self._trim(before))
            self._thinking = not self._thinking
            self._skip_blank = not self._thinking
            self._held = after
        keep = _possible_tag(self._held, tag)
        ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        if not self._thinking:
            shown.append(self._trim(ready))
        return "".join(shown)

    def end(self) -> str:
        """What was held back and turned out to be text; a thought that never ended stays one."""
        rest, self._held = self._held, ""
        return "" if self._thinking else self._trim(rest)

    def _trim(self, text: str) -> str:
        if self._skip_blank:
            text = text.lstrip()
            self._skip_blank = not text
        return text


def without_thoughts(text: str) -> str:
    """The text as the filter passes it on, all at once."""
    thoughts = ThoughtFilter()
    return thoughts.feed(text) + thoughts.end()


def _possible_tag(text: str, tag: str) -> int:
    """How many characters at the end could be the beginning of the tag."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-size:])), 0)
