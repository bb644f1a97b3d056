"""What is the model told about a result?

Text as it is, without control characters; data as JSON, unless the text says the same; everything else by name
only. What is too long is cut, and the model is told that it was.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mainstay.units import format_size

__all__ = ["cut", "in_words"]

_CONTROLS: Final = {number: None for number in (*range(32), *range(127, 160)) if chr(number) not in "\t\n"}


def in_words(content: Sequence[Mapping[str, object]], structured: object = None) -> str:
    """The result of a call.

    Args:
        content: its parts, as the protocol writes them.
        structured: its data, if it has any.
    """
    texts = [str(part.get("text", "")) for part in content if part.get("type") == "text"]
    parts = [told for part in content for told in _part(part)]
    if structured is not None and not _says_the_same(texts, structured):
        parts.append(json.dumps(structured, ensure_ascii=False, separators=(",", ":")))
    return "\n".join(parts).translate(_CONTROLS) or "(the tool returned nothing)"


def cut(text: str, limit_bytes: int) -> str:
    """The text, or as much of it as the limit allows and a word about the rest."""
    whole = text.encode()
    if len(whole) <= limit_bytes:
        return text
    kept = whole[:limit_bytes].decode(errors="ignore")
    return f"{kept}\n[cut: this is the first {format_size(limit_bytes)} of {len(whole)} bytes]"


def _part(part: Mapping[str, object]) -> Iterator[str]:
    match part:
        case {"type": "text", "text": str(text)}:
            yield text
        case {"type": "image" | "audio" as kind, "data": str(data)}:
            yield f"[{kind}, {part.get('mimeType')}, about {len(data) * 3 // 4} bytes: can not be shown here]"
        case {"type": "resource_link"}:
            yield f"[link to the resource {part.get('name')}: {part.get('uri')}]"
        case {"type": "resource", "resource": {"text": str(text), **about}}:
            yield f"[resource {about.get('uri')}]\n{text}"
        case {"type": "resource", "resource": {**about}}:
            yield f"[resource {about.get('uri')}, {about.get('mimeType')}: no text, can not be shown here]"
        case _:
            yield f"[{part.get('type')}: can not be shown here]"


def _says_the_same(texts: Sequence[str], structured: object) -> bool:
    """Whether the texts are the data once more, as servers write it for clients that know no data."""
    if not texts:
        return False
    data = [structured]
    if isinstance(structured, Mapping) and set(structured) == {"result"}:
        data.append(structured["result"])
    read = [_read(text) for text in texts]
    told: list[object] = [list(texts), read]
    if len(texts) == 1:
        told += [texts[0], read[0]]
    return any(value in data for value in told)


def _read(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value
