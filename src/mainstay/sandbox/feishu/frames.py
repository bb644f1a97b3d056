"""How is a frame of the long connection written?

The message ``pbbp2.Frame`` of protocol buffers 2, by hand: four numbers that are always there, headers, and a
payload. What reads here judges what a bot has written, so it takes no frame in which something is missing.
"""

from dataclasses import dataclass, field

__all__ = ["CONTROL", "DATA", "Frame", "decode", "encode"]

CONTROL, DATA = 0, 1
"""What ``method`` says: a ping or pong, or an event or its acknowledgement."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NUMBERS = {1: "seq_id", 2: "log_id", 3: "service", 4: "method"}
_HEADER = 5
_TEXTS = (6, 7, 8, 9)
_U64 = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One message of the connection; ``headers`` are in their order, and may repeat."""

    seq_id: int = 0
    log_id: int = 0
    service: int = 0
    method: int = DATA
    headers: tuple[tuple[str, str], ...] = ()
    payload_encoding: str | None = None
    payload_type: str | None = None
    payload: bytes | None = field(default=None, repr=False)
    log_id_new: str | None = None

    def header(self, key: str) -> str:
        """The first header of that name, or empty."""
        return next((value for each, value in self.headers if each == key), "")


def encode(frame: Frame) -> bytes:
    """The bytes of a frame, fields in the order of their numbers."""
    written = bytearray()
    for number, count in zip(_NUMBERS, (frame.seq_id, frame.log_id, frame.service, frame.method), strict=True):
        written += _varint(number << 3 | _VARINT) + _varint(count % _U64)
    for key, value in frame.headers:
        written += _piece(_HEADER, _piece(1, key.encode()) + _piece(2, value.encode()))
    texts = (frame.payload_encoding, frame.payload_type, frame.payload, frame.log_id_new)
    for number, text in zip(_TEXTS, texts, strict=True):
        if text is not None:
            written += _piece(number, text.encode() if isinstance(text, str) else text)
    return bytes(written)


def decode(data: bytes) -> Frame:
    """Read a frame. Raises ValueError that says what is wrong with it."""
    numbers: dict[int, int] = {}
    texts: dict[int, bytes] = {}
    headers = []
    for number, value in _fields(data):
        if number in _NUMBERS and isinstance(value, int):
            numbers[number] = value
        elif number == _HEADER and isinstance(value, bytes):
            headers.append(_header(value))
        elif number in _TEXTS and isinstance(value, bytes):
            texts[number] = value
        elif number <= max(_TEXTS):
            raise ValueError(f"field {number} has the wrong type")
    missing = [name for number, name in _NUMBERS.items() if number not in numbers]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    return Frame(
        seq_id=numbers[1],
        log_id=numbers[2],
        service=_signed(numbers[3]),
        method=_signed(numbers[4]),
        headers=tuple(headers),
        payload_encoding=_text(texts.get(6)),
        payload_type=_text(texts.get(7)),
        payload=texts.get(8),
        log_id_new=_text(texts.get(9)),
    )


def _text(written: bytes | None) -> str | None:
    return None if written is None else written.decode()


def _header(data: bytes) -> tuple[str, str]:
    found = {number: value.decode() for number, value in _fields(data) if isinstance(value, bytes)}
    if not found.keys() >= {1, 2}:
        raise ValueError("a header without key or value")
    return found[1], found[2]


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            found.append((number, value))
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        if not number or kind not in {_FIXED64, _BYTES, _FIXED32}:
            raise ValueError(f"field {number} of unknown type {kind}")
        if at + size > len(data):
            raise ValueError("cut off")
        found.append((number, data[at : at + size]))
        at += size
    return found


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value % _U64, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 10 bytes")
    raise ValueError("cut off")


def _piece(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _signed(value: int) -> int:
    """An int32, which is written with 64 bits when it is negative."""
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low & 1 << 31 else low
