"""Which arguments fit this JSON schema, when nobody thinks about them?

The same text and schema always give the same value. Only what is required is filled in.
"""

import re
from collections.abc import Mapping

__all__ = ["fill", "mentions"]

_DEPTH = 8
_NUMBER = re.compile(r"-?\d{1,15}")


def mentions(text: str, word: str) -> bool:
    """Whether the text has the word, in any case, also in the plural; Chinese next to it does not matter."""
    pattern = rf"(?<![A-Za-z0-9_]){re.escape(word)}s?(?![A-Za-z0-9_])"
    return bool(word) and re.search(pattern, text, re.IGNORECASE) is not None


def fill(schema: Mapping[str, object], text: str) -> object:
    """A value that fits.

    A string is the text, a number the first integer in it (else the minimum, else 1), a choice the first one that
    the text mentions (else the first), a truth false, and a list empty unless it must have items. What lies deeper
    than eight levels is null.
    """
    return _fill(schema, text, schema, 0)


def _fill(schema: object, text: str, root: Mapping[str, object], depth: int) -> object:
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return None
    match schema:
        case {"$ref": str(ref)}:
            return _fill(_resolve(ref, root), text, root, depth + 1)
        case {"const": value} | {"default": value}:
            return value
        case {"enum": [first, *_] as choices}:
            return next((choice for choice in choices if mentions(text, str(choice))), first)
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first, *_]}:
            return _fill(first, text, root, depth + 1)
        case {"type": [first, *_]}:
            return _plain(str(first), schema, text, root, depth)
        case _:
            return _plain(str(schema.get("type", "object")), schema, text, root, depth)


def _plain(kind: str, schema: Mapping[str, object], text: str, root: Mapping[str, object], depth: int) -> object:
    match kind:
        case "string":
            limit = schema.get("maxLength")
            return text[: limit if isinstance(limit, int) else None]
        case "integer" | "number":
            return _number(schema, text)
        case "boolean":
            return False
        case "array":
            count = schema.get("minItems")
            item = _fill(schema.get("items"), text, root, depth + 1)
            return [item] * min(count if isinstance(count, int) else 0, 100)
        case "object":
            properties, required = schema.get("properties"), schema.get("required")
            if not isinstance(properties, Mapping) or not isinstance(required, list):
                return {}
            return {str(name): _fill(properties.get(name), text, root, depth + 1) for name in required}
        case _:
            return None


def _number(schema: Mapping[str, object], text: str) -> int | float:
    low, high = schema.get("minimum"), schema.get("maximum")
    found = _NUMBER.search(text)
    value: int | float = int(found[0]) if found else low if isinstance(low, int | float) else 1
    if isinstance(low, int | float):
        value = max(value, low)
    if isinstance(high, int | float):
        value = min(value, high)
    return value


def _resolve(ref: str, root: Mapping[str, object]) -> object:
    found: object = root
    for name in filter(None, ref.removeprefix("#").split("/")):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
