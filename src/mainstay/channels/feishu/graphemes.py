"""Where may a text be cut without breaking what a person takes for one character?

A family of emoji, a flag, a letter with its accent, a syllable of Hangul or of an Indic script are several code
points and one character (the extended grapheme clusters of Unicode's annex 29). The standard library does not know
them, so the rules are here, written so that in doubt they do not cut.
"""

import unicodedata
from typing import Final

__all__ = ["border_before"]

_ZWJ: Final = "\u200d"
_LONGEST: Final = 256
"""Code points; what goes on for longer is no character, but letters under a heap of marks."""


def border_before(text: str, position: int) -> int:
    """The last place at or before ``position`` at which the text may be cut.

    A cluster of absurd length is cut all the same: at ``position``.
    """
    if position <= 0 or position >= len(text):
        return max(0, min(position, len(text)))
    for place in range(position, max(0, position - _LONGEST), -1):
        if not _joined(text, place):
            return place
    return position if position > _LONGEST else 0


def _joined(text: str, place: int) -> bool:
    """Whether the characters on both sides of this place belong together."""
    before, after = text[place - 1], text[place]
    if before < "\u0300" and after < "\u0300":
        return before == "\r" and after == "\n"
    return (
        _extends(after)
        or before == _ZWJ
        or _is_prepended(before)
        or (_is_virama(text, place) and unicodedata.category(after) == "Lo")
        or (_is_indicator(after) and _indicators_before(text, place) % 2 == 1)
        or _is_syllable(before, after)
    )


def _extends(char: str) -> bool:
    """Marks, joiners, two vowels of Thai and Lao, variation selectors, colours of skin, the tags of flags."""
    code = ord(char)
    return (
        unicodedata.category(char) in ("Mn", "Mc", "Me")
        or char in ("\u200c", _ZWJ, "\u0e33", "\u0eb3", "\uff9e", "\uff9f")
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xE0020 <= code <= 0xE007F
    )


def _is_prepended(char: str) -> bool:
    """The number signs of Arabic and their like, which stand before what they belong to."""
    code = ord(char)
    return 0x0600 <= code <= 0x0605 or code in (0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD)


def _is_virama(text: str, place: int) -> bool:
    """A sign that joins two consonants stands before this place, perhaps with other marks after it."""
    for index in range(place - 1, max(-1, place - 8), -1):
        if unicodedata.combining(text[index]) == 9:
            return True
        if not _extends(text[index]):
            break
    return False


def _is_indicator(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _indicators_before(text: str, place: int) -> int:
    """Letters of flags in a row; two make one flag."""
    first = place
    while first and _is_indicator(text[first - 1]):
        first -= 1
    return place - first


def _is_syllable(before: str, after: str) -> bool:
    """Parts of one syllable of Hangul: leading consonants, a vowel, closing consonants."""
    if "\u1100" <= before <= "\u115f" or "\ua960" <= before <= "\ua97c":
        return "\u1100" <= after <= "\u11a7" or "\ua960" <= after <= "\ua97c" or "\uac00" <= after <= "\ud7a3"
    if "\u1160" <= before <= "\u11a7" or "\ud7b0" <= before <= "\ud7c6":
        return "\u1160" <= after <= "\u11ff" or "\ud7b0" <= after <= "\ud7fb"
    if "\uac00" <= before <= "\ud7a3":
        closed = (ord(before) - 0xAC00) % 28 != 0
        return "\u11a8" <= after <= "\u11ff" or (not closed and "\u1160" <= after <= "\u11a7")
    if "\u11a8" <= before <= "\u11ff" or "\ud7cb" <= before <= "\ud7fb":
        return "\u11a8" <= after <= "\u11ff" or "\ud7cb" <= after <= "\ud7fb"
    return False
