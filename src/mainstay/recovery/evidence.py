"""What does an error say about itself?

Its class, codes, status, headers and text, whatever library it comes from: read off the exception, off its
response, or out of what the caller knows of the response. Foreign objects are not trusted: their properties and
texts raise, bodies are not what they claim to be, causes go in circles. Nothing in here does I/O: of a response
only that is looked at which was read already.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar

from mainstay.recovery.wording import beginning

__all__ = ["Evidence", "cause", "gather", "members"]

T = TypeVar("T")

_MOST: Final = 200
"""Headers, members of a group, items of a list: more than anybody needs, and a bound for a hostile sender."""

_LONGEST_JSON: Final = 1_000_000
_LONGEST_TEXT: Final = 8000

_FEISHU_SDKS: Final = frozenset({"lark_oapi", "lark_channel"})

_NESTED: Final = (
    "details", "errors", "innererror", "metadata", "availability", "promptFeedback", "candidates", "choices",
)  # fmt: skip
_NESTED_CODES: Final = (
    "error_code", "limit_source", "reason", "error_type", "code", "blockReason", "finishReason", "finish_reason",
)  # fmt: skip
_CODES: Final = ("error_code", "error_type", "code", "type", "status", "stop_reason")
_ATTRIBUTES: Final = ("provider_error_code", "provider_error_type", "error_code", "code", "type", "status")
_TEXTS: Final = ("message", "msg", "error_description", "error", "detail")

_GENERIC: Final = frozenset({"provider returned error"})
"""What a gateway says when the sentence that explains it is in the layer below."""

_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that one exception, or one response, says.

    Attributes:
        names: of the exception's class and of those that it derives from, its own first.
        packages: the top-level packages of these classes.
        codes: every machine-readable name that was given, the most telling first, in lower case.
        feishu: Feishu's own code, if it was Feishu that answered.
        status: that of HTTP, or the one that the body names where HTTP's is no error's.
        headers: of the response, names in lower case.
        waits: what the body says about waiting, then what an SDK has read: the field's name and its text.
        said: what the provider said; empty if it said nothing.
        own: the exception's own text.
    """

    names: tuple[str, ...] = ()
    packages: frozenset[str] = frozenset()
    codes: tuple[str, ...] = ()
    feishu: int | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    waits: tuple[tuple[str, str], ...] = ()
    said: str = ""
    own: str = ""


def gather(
    error: BaseException | None, *, status: object = None, headers: object = None, body: object = None
) -> Evidence:
    """What there is to know; what the caller knows of the response comes before what the exception says of it."""
    response = _read(error, "response")
    told = (body, _read(error, "body"))
    outers = (_mapping(each) for each in (*told, _read(error, "details"), _read(response, "_content")))
    layers = tuple(_layers(next((outer for outer in outers if outer), {})))
    classes = _items(_read(type(error), "__mro__")) if error is not None else []
    packages = frozenset(_text(_read(each, "__module__")).partition(".")[0] for each in classes)
    of_response = _headers(layers, headers, _read(error, "headers"), _read(response, "headers"))
    reader = None if of_response.keys() & {"retry-after", "retry-after-ms"} else error  # an SDK read just these
    return Evidence(
        names=tuple(_text(_read(each, "__name__")) for each in classes),
        packages=packages,
        codes=tuple(_codes(layers, error)),
        feishu=_feishu(layers, error, packages),
        status=_status(status, error, response, layers),
        headers=of_response,
        waits=tuple(_waits(layers, reader)),
        said=_said(layers) or next((text for each in told if (text := _words(each))), ""),
        own=_words(_text(error)),
    )


def members(error: BaseException) -> list[BaseException]:
    """The exceptions of a group, in its order; none if it is no group."""
    grouped = _items(_read(error, "exceptions")) if issubclass(type(error), BaseExceptionGroup) else []
    return [each for each in grouped if isinstance(each, BaseException)]


def cause(error: BaseException) -> tuple[BaseException | None, bool]:
    """What the exception was raised from, and whether somebody said so (``raise … from``)."""
    stated = _read(error, "__cause__")
    if isinstance(stated, BaseException):
        return stated, True
    context = None if _read(error, "__suppress_context__") else _read(error, "__context__")
    return (context if isinstance(context, BaseException) else None), False


def _layers(outer: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The error objects of a body: the provider's own, then those that it passes on."""
    if not outer:
        return
    provider = outer
    if _get(outer, "msg") is None:  # Feishu's ``error`` is no error object, but the way to its log
        choice = next(iter(_items(_get(outer, "choices"))), None)
        holders = (outer, _get(outer, "response"), choice)
        provider = next((found for each in holders if (found := _mapping(_get(each, "error")))), outer)
    yield provider
    for passed_on in (_get(_get(provider, "metadata"), "raw"), _get(provider, "message")):
        if below := _mapping(passed_on):
            yield _mapping(_get(below, "error")) or below


def _codes(layers: Iterable[Mapping[str, object]], error: object) -> Iterator[str]:
    for layer in layers:
        if _daily(layer):
            yield "per_day"
        metadata = _get(layer, "metadata")
        if any(_get(metadata, name) is not None for name in ("flagged_input", "reasons", "patterns")):
            yield "flagged_input"
        for nested in (_get(layer, name) for name in _NESTED):
            for each in [nested, *_items(nested)] if nested else ():
                yield from _names(_get(each, name) for name in _NESTED_CODES)
        yield from _names(_get(layer, name) for name in _CODES)
    yield from _names(_read(error, name) for name in _ATTRIBUTES)


def _names(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield str.lower(value[:100])
        elif (number := _whole(value)) is not None:
            yield str(number)


def _daily(layer: Mapping[str, object]) -> bool:
    """Whether it is a daily quota, which Gemini words as a rate limit."""
    return any(
        "perday" in _text(_get(violation, "quotaId")).lower()
        for detail in _items(_get(layer, "details"))
        for violation in _items(_get(detail, "violations"))
    )


def _feishu(layers: Iterable[Mapping[str, object]], error: object, packages: frozenset[str]) -> int | None:
    """Its answers are told by the ``msg`` beside the number, the exceptions of its SDKs by their package."""
    found = [_get(layer, "code") for layer in layers if _get(layer, "msg") is not None]
    if packages & _FEISHU_SDKS:
        found += [_read(error, "raw_code"), _read(error, "code")]
    return next((number for code in found if (number := _whole(code))), None)


def _status(told: object, error: object, response: object, layers: Iterable[Mapping[str, object]]) -> int | None:
    holders = [_read(each, name) for each in (error, response) for name in ("status_code", "status", "code")]
    of_http = [number for each in (told, *holders) if (number := _whole(each)) and 100 <= number < 600]
    if of_http and of_http[0] >= 400:
        return of_http[0]
    named = [_get(layer, name) for layer in layers for name in ("code", "http_status", "status")]
    in_body = [int(text) for each in named if re.fullmatch("[45][0-9][0-9]", text := _text(each))]
    return next(iter(in_body + of_http), None)


def _headers(layers: Iterable[Mapping[str, object]], *sources: object) -> Mapping[str, str]:
    """Those of the first source that has any; OpenRouter repeats in the body what it sent, also inside a stream.

    A header that was sent twice is joined by a comma, as HTTP does.
    """
    repeated = [_get(_get(layer, "metadata"), "headers") for layer in layers]
    for source in (*sources, *repeated):
        headers: dict[str, str] = {}
        for name, value in _pairs(source):
            name, value = _text(name).lower(), _text(value).strip()  # noqa: PLW2901
            headers[name] = f"{headers[name]}, {value}" if headers.get(name, value) != value else value
        if headers:
            return headers
    return {}


def _waits(layers: Iterable[Mapping[str, object]], reader: object) -> Iterator[tuple[str, str]]:
    found: list[tuple[str, object]] = []
    for layer in layers:
        found.append(("availability.retry_after", _get(_get(layer, "availability"), "retry_after")))
        found += [("retryDelay", _get(detail, "retryDelay")) for detail in _items(_get(layer, "details"))]
    found += [(name, _read(reader, name)) for name in ("retry_after", "retry_after_seconds")]
    for name, value in found:
        if isinstance(value, str) or type(value) is int:
            yield name, _text(value)
        elif isinstance(value, float):
            yield name, f"{value:f}"


def _said(layers: Iterable[Mapping[str, object]]) -> str:
    said = ""
    for layer in layers:
        texts = (_words(_get(layer, name)) for name in _TEXTS)
        raw = _get(_get(layer, "metadata"), "raw")
        said = next((text for text in texts if text), "") or said
        if said and said.lower() not in _GENERIC and not _mapping(said):
            break
        said = _words(raw) or said
    return said


def _words(value: object) -> str:
    """The text that is meant for people; of a page of HTML its title, of anything but text nothing."""
    text = _text(value).strip() if isinstance(value, str | bytes) else ""
    if not text.startswith("<"):
        return text
    title = _TITLE.search(text)
    return title[1].strip() if title else ""


def _mapping(value: object) -> Mapping[str, object]:
    """The JSON object that this is or spells out, alone or first in a list; empty if there is none."""
    if isinstance(value, str | bytes | bytearray):
        if len(value) > _LONGEST_JSON:
            return {}
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    first = next(iter(_items(value)), value)
    return first if isinstance(first, Mapping) else {}


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _read(holder: object, name: str) -> object:
    return _safely(lambda: getattr(holder, name, None), None)


def _get(mapping: object, name: str) -> object:
    return _safely(lambda: mapping.get(name), None) if isinstance(mapping, Mapping) else None


def _items(value: object) -> list[object]:
    return list(value[:_MOST]) if isinstance(value, list | tuple) else []


def _pairs(value: object) -> list[tuple[object, object]]:
    items = _read(value, "items")
    return _safely(lambda: [(name, item) for name, item in islice(items(), _MOST)], []) if callable(items) else []


def _text(value: object) -> str:
    """The beginning of its text; empty for nothing, and for what can not be written down."""
    if isinstance(value, bytes | bytearray):
        value = value[: 4 * _LONGEST_TEXT].decode("utf-8", "replace")
    return "" if value is None else _safely(lambda: beginning(str(value), _LONGEST_TEXT), "")


def _safely(read: Callable[[], T], otherwise: T) -> T:
    """What a foreign object gives, if it does: judging an error must not make another."""
    try:
        return read()
    except Exception:  # noqa: BLE001  see above
        return otherwise
