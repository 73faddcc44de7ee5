"""Breaks good files at random: at the level of bytes, and one level up, so that checksums and lengths fit again and the
fault reaches what lies inside.
"""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable

import onnx
from google.protobuf.message import DecodeError, Message

from scripts.corpus.weights import Member, raw_zip

_WORDS = (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff" * 8)
_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**62))
_TEXTS = ("", "x", "../../etc/passwd", "\0", "\u202e", "9" * 400, "\ud7ff")
_MAX_FAULTS = 16
#: Place and size of the fields of a WAV file's chunk `fmt `, those of the extensible form among them.
_FORMAT_FIELDS = ((0, 2), (2, 2), (4, 4), (8, 4), (12, 2), (14, 2), (16, 2), (18, 2), (24, 2))


def mutate(content: bytes, rng: random.Random) -> bytes:
    """The file with one fault or some."""
    inner = [in_bytes]
    if content.startswith(b"PK\x03\x04"):
        inner += [in_member, in_member, in_record]
    elif content[8:9] == b"{":
        inner += [in_header, in_header]
    elif content.startswith(b"RIFF"):
        inner += [in_riff, in_riff]
    elif content[:1] == b"\x08":
        inner += [in_message, in_message]
    elif content[257:262] == b"ustar":
        inner += [in_tar, in_tar]
    return rng.choice(inner)(content, rng)


def in_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, lost, added, repeated or cut off."""
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice([1, 1, 2, 4, _MAX_FAULTS])):
        at = rng.randrange(len(changed))
        match rng.choices("bwdirc", [4, 3, 1, 1, 1, 1])[0]:
            case "b":
                changed[at] = rng.randrange(256)
            case "w":
                word = rng.choice(_WORDS)
                changed[at : at + len(word)] = word
            case "d":
                del changed[at + 1 : at + rng.randrange(2, 50)]
            case "i":
                changed[at:at] = rng.randbytes(rng.randrange(1, 50))
            case "r":
                changed[at:at] = changed[max(0, at - 100) : at]
            case _:
                del changed[at + 1 :]
    return bytes(changed)


def in_member(content: bytes, rng: random.Random) -> bytes:
    """A fault in one file of a zip archive, which is then packed anew, with the checksum of what it holds now."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = [(info, archive.read(info)) for info in archive.infolist()]
    chosen = rng.randrange(len(files))
    members = [
        Member(info.filename, mutate(data, rng) if place == chosen else data, info.compress_type)
        for place, (info, data) in enumerate(files)
    ]
    return raw_zip(members)


def in_record(content: bytes, rng: random.Random) -> bytes:
    """A field of a record of the zip archive changed: those of its members, or of its end."""
    changed = bytearray(content)
    marks = [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"]
    places = [at for mark in marks for at in _found(content, mark)]
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.choice(places) + 4 + 2 * rng.randrange(20)
        value = rng.choice([b"\0\0", b"\xff\xff", b"\1\0", b"\x08\0", rng.randbytes(2)])
        changed[at : at + 2] = value
    return bytes(changed)


def _found(content: bytes, mark: bytes) -> list[int]:
    places, at = [], content.find(mark)
    while at >= 0:
        places.append(at)
        at = content.find(mark, at + 1)
    return places


def in_header(content: bytes, rng: random.Random) -> bytes:
    """A value of a safetensors header changed; its length fits."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    name = rng.choice(list(header))
    entry = header[name] if isinstance(header[name], dict) else {}
    match rng.randrange(6):
        case 0:
            entry["shape"] = [rng.choice(_NUMBERS) for _ in range(rng.randrange(5))]
        case 1:
            entry["data_offsets"] = [rng.choice(_NUMBERS), rng.choice(_NUMBERS)]
        case 2:
            entry["dtype"] = rng.choice(["F64", "I8", "BOOL", "F8_E4M3", "U64", "", "C64"])
        case 3:
            header[rng.choice(_TEXTS)] = header.pop(name)
        case 4:
            header["__metadata__"] = rng.choice([{}, {"a": "b"}, {"a": 1}, [], "text"])
        case _:
            del header[name]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def in_riff(content: bytes, rng: random.Random) -> bytes:
    """A field of a WAV file's header changed, or the size that it or a chunk claims."""
    changed = bytearray(content)
    fields = [(4, 4), *((at + 4, 4) for mark in (b"fmt ", b"data", b"LIST") for at in _found(content, mark))]
    fields += [(at + 8 + place, size) for at in _found(content, b"fmt ") for place, size in _FORMAT_FIELDS]
    for _ in range(rng.choice([1, 1, 2])):
        at, size = rng.choice(fields)
        value = rng.choice([0, 1, 3, 8, 24, 2 ** (8 * size) - 1, rng.randrange(2 ** (8 * size))])
        changed[at : at + size] = value.to_bytes(size, "little")
    return bytes(changed)


def in_message(content: bytes, rng: random.Random) -> bytes:
    """Fields of an ONNX graph changed, doubled or lost, as protobuf writes it."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        for _ in range(rng.choice([1, 1, 2, 4])):
            _change(_somewhere(model, rng), rng)
        return bytes(model.SerializeToString())
    except (DecodeError, ValueError, TypeError):  # a value that the field cannot hold: then in the bytes
        return in_bytes(content, rng)


def _somewhere(message: Message, rng: random.Random) -> Message:
    """A message in the message, of any depth."""
    while True:
        below = [value for field, value in message.ListFields() if field.message_type is not None]
        if not below or rng.random() < 0.2:
            return message
        chosen = rng.choice(below)
        message = rng.choice(list(chosen)) if not isinstance(chosen, Message) else chosen


def _change(message: Message, rng: random.Random) -> None:
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    name = field.name
    if field.message_type is not None or rng.random() < 0.1:
        repeated = not isinstance(value, Message) and field.message_type is not None
        if repeated and rng.random() < 0.5:
            value.append(rng.choice(list(value)))
        else:
            message.ClearField(name)
        return
    if isinstance(value, int | float | str | bytes):
        setattr(message, name, _other(value, rng))
    elif len(value):
        value[rng.randrange(len(value))] = _other(value[0], rng)


def _other(value: object, rng: random.Random) -> object:
    if isinstance(value, int):
        return rng.choice([value + 1, max(0, value - 1), *_NUMBERS])
    if isinstance(value, float):
        return rng.choice([0.0, -1.0, float("nan"), float("inf"), 1e38])
    if isinstance(value, bytes):
        return in_bytes(value, rng)
    return rng.choice([*_TEXTS, str(value)[::-1], "Loop", "If", "Softmax", "Reshape", "z", "x"])


def in_tar(content: bytes, rng: random.Random) -> bytes:
    """A field of a tar header changed; its checksum fits."""
    changed = bytearray(content)
    heads = [at for at in range(0, len(content) - 511, 512) if content[at + 257 : at + 262] == b"ustar"]
    at = rng.choice(heads)
    fields: list[Callable[[], tuple[int, bytes]]] = [
        lambda: (0, rng.choice([b"../../x", b"/etc/passwd", b"\xff" * 99, b"a" * 100])),
        lambda: (124, rng.choice([b"77777777777\0", b"\xff" * 12, b"\x80" + bytes(10) + b"\x07", b"zzz"])),
        lambda: (156, rng.choice([bytes((kind,)) for kind in b"01234567LKxgS\xff"])),
        lambda: (345, rng.choice([b"..", b"/", b"\xff" * 155])),
    ]
    offset, value = rng.choice(fields)()
    changed[at + offset : at + offset + len(value)] = value
    changed[at + 148 : at + 156] = b" " * 8
    changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
    return bytes(changed)
