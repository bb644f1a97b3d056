"""What stands in one message of the long connection, and how is it written?

Each is one ``pbbp2.Frame``, a protobuf (proto2) message::

    1 SeqID uint64   2 LogID uint64   3 service int32   4 method int32     required
    5 headers: repeated {1 key string, 2 value string}                     both required
    6 payload_encoding string   7 payload_type string   8 payload bytes   9 LogIDNew string

By hand, because the schema is nine fields that do not change, and a protobuf runtime is megabytes. What this
version does not know is kept and written again at the end, as protobuf does: an acknowledgement is the frame
itself.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["CONTROL", "DATA", "Frame", "decode", "encode"]

CONTROL: Final = 0
"""`Frame.method` of pings and pongs."""
DATA: Final = 1
"""`Frame.method` of events and callbacks."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SEQ_ID, _LOG_ID, _SERVICE, _METHOD, _HEADER = (1 << 3, 2 << 3, 3 << 3, 4 << 3, 5 << 3 | _BYTES)
_ENCODING, _TYPE, _PAYLOAD, _LOG_ID_NEW = (field << 3 | _BYTES for field in (6, 7, 8, 9))
_KEY, _VALUE = 1 << 3 | _BYTES, 2 << 3 | _BYTES
_UINT64: Final = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One message.

    Attributes:
        service: which of the platform's services it concerns, as the address of the connection says.
        method: `CONTROL` or `DATA`.
        extra: fields that this version does not know, as they came.
    """

    seq_id: int = 0
    log_id: int = 0
    service: int
    method: int
    headers: tuple[tuple[str, str], ...] = ()
    payload_encoding: str | None = None
    payload_type: str | None = None
    payload: bytes | None = None
    log_id_new: str | None = None
    extra: bytes = b""

    def header(self, key: str) -> str:
        """The value of the first header of that name; empty if there is none."""
        return next((value for name, value in self.headers if name == key), "")


def encode(frame: Frame) -> bytes:
    """As the platform's own SDK writes it, to the byte."""
    out = bytearray()
    for key, number in (
        (_SEQ_ID, frame.seq_id),
        (_LOG_ID, frame.log_id),
        (_SERVICE, frame.service),
        (_METHOD, frame.method),
    ):
        out.append(key)
        _write_varint(out, number)
    for name, value in frame.headers:
        header = bytearray()
        _write_bytes(header, _KEY, name.encode())
        _write_bytes(header, _VALUE, value.encode())
        _write_bytes(out, _HEADER, header)
    for key, text in ((_ENCODING, frame.payload_encoding), (_TYPE, frame.payload_type)):
        if text is not None:
            _write_bytes(out, key, text.encode())
    if frame.payload is not None:
        _write_bytes(out, _PAYLOAD, frame.payload)
    if frame.log_id_new is not None:
        _write_bytes(out, _LOG_ID_NEW, frame.log_id_new.encode())
    return bytes(out + frame.extra)


def decode(data: bytes) -> Frame:
    """Read one.

    Raises:
        ValueError: if it is cut off, lacks what is required, or is something else.
    """
    numbers: dict[int, int] = {}
    parts: dict[int, bytes] = {}
    headers: list[tuple[str, str]] = []
    extra = bytearray()
    at, end = 0, len(data)
    while at < end:
        begin = at
        key, at = _read_varint(data, at, end)
        if key in (_SEQ_ID, _LOG_ID, _SERVICE, _METHOD):
            numbers[key], at = _read_varint(data, at, end)
        elif key in (_HEADER, _ENCODING, _TYPE, _PAYLOAD, _LOG_ID_NEW):
            part, at = _read_bytes(data, at, end)
            if key == _HEADER:
                headers.append(_read_header(part))
            else:
                parts[key] = part
        else:
            at = _skip(data, at, end, key)
            extra += data[begin:at]
    if len(numbers) < 4:
        raise ValueError("a frame without all of its required fields")
    return Frame(
        seq_id=numbers[_SEQ_ID],
        log_id=numbers[_LOG_ID],
        service=_int32(numbers[_SERVICE]),
        method=_int32(numbers[_METHOD]),
        headers=tuple(headers),
        payload_encoding=_text(parts.get(_ENCODING)),
        payload_type=_text(parts.get(_TYPE)),
        payload=parts.get(_PAYLOAD),
        log_id_new=_text(parts.get(_LOG_ID_NEW)),
        extra=bytes(extra),
    )


def _write_varint(out: bytearray, number: int) -> None:
    number &= _UINT64
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write_bytes(out: bytearray, key: int, part: bytes | bytearray) -> None:
    out.append(key)
    _write_varint(out, len(part))
    out += part


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number, and where what follows it begins."""
    number = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & _UINT64, at
        shift += 7
        if shift > 63:
            raise ValueError("a number in a frame has no end")
    raise ValueError("a frame that is cut off")


def _read_bytes(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    length, at = _read_varint(data, at, end)
    if length > end - at:
        raise ValueError("a frame that is cut off")
    return data[at : at + length], at + length


def _skip(data: bytes, at: int, end: int, key: int) -> int:
    """Where what follows the value of an unknown field begins."""
    field, kind = key >> 3, key & 7
    if not 0 < field < 2**29:
        raise ValueError("a frame with a field that can not be")
    if kind == _VARINT:
        return _read_varint(data, at, end)[1]
    if kind == _BYTES:
        length, at = _read_varint(data, at, end)
        at += length
    elif kind in (_FIXED64, _FIXED32):
        at += 8 if kind == _FIXED64 else 4
    else:
        raise ValueError("a frame with a field of no known kind")
    if at > end:
        raise ValueError("a frame that is cut off")
    return at


def _read_header(part: bytes) -> tuple[str, str]:
    found: dict[int, bytes] = {}
    at, end = 0, len(part)
    while at < end:
        key, at = _read_varint(part, at, end)
        if key in (_KEY, _VALUE):
            found[key], at = _read_bytes(part, at, end)
        else:
            at = _skip(part, at, end, key)
    if len(found) < 2:
        raise ValueError("a header without its name or value")
    return found[_KEY].decode(), found[_VALUE].decode()


def _int32(number: int) -> int:
    number &= 0xFFFFFFFF
    return number - 2**32 if number & 0x80000000 else number


def _text(part: bytes | None) -> str | None:
    return None if part is None else part.decode()
