"""
Frames: what our processes say to each other, over any byte stream.

    4 bytes, big endian: length of what follows
    MessagePack map of one message, its kind in "type"

Nothing but these messages can be decoded: no code, no objects.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from hanlin.domain import InvalidInputError

T = TypeVar("T")
MAX_FRAME_BYTES = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """What every message derives from."""


def encode_frame(message: Message) -> bytes:
    """Return *message* as one frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameDecoder(Generic[T]):
    """Cuts a byte stream into messages of one union of types, however the bytes arrive."""

    def __init__(self, types: Any, *, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._decode = msgspec.msgpack.Decoder(types).decode
        self._buffer, self._max_bytes = bytearray(), max_bytes

    def feed(self, data: bytes) -> list[T]:
        """Take *data* and return the messages that are complete; raise InvalidInputError (``frame_invalid``)."""
        self._buffer += data
        messages: list[T] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > self._max_bytes:
                raise _invalid(f"a frame of {length:,} bytes is longer than {self._max_bytes:,}")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(self._message(memoryview(self._buffer)[start + _LENGTH.size : end].tobytes()))
            start = end
        del self._buffer[:start]
        return messages

    def _message(self, body: bytes) -> T:
        try:
            return self._decode(body)  # type: ignore[no-any-return]
        except msgspec.DecodeError as error:
            raise _invalid(f"a frame cannot be read: {error}") from None


class FrameStream(Generic[T]):
    """Messages over a pair of asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, types: Any) -> None:
        self._reader, self._writer = reader, writer
        self._decoder: FrameDecoder[T] = FrameDecoder(types)
        self._ready: list[T] = []

    async def receive(self) -> T | None:
        """Return the next message, or None when the other side has closed."""
        while not self._ready:
            data = await self._reader.read(65_536)
            if not data:
                return None
            self._ready = self._decoder.feed(data)
        return self._ready.pop(0)

    async def send(self, message: Message) -> None:
        """Send *message* and wait while the other side is behind."""
        self._writer.write(encode_frame(message))
        await self._writer.drain()

    def close(self) -> None:
        """Close the stream. Idempotent."""
        self._writer.close()


def unix_listener(path: Path) -> socket.socket:
    """Return a listening Unix socket at *path* that only its owner can reach; the stale one of a dead process goes."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(256)
    listener.setblocking(False)
    return listener


def _invalid(message: str) -> InvalidInputError:
    return InvalidInputError(message, code="frame_invalid", hint="both ends must run the same release of Hanlin")
