from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.domain import InvalidInputError
from hanlin.wire import (
    Batch,
    BatchFailed,
    Failed,
    FrameDecoder,
    FromReplica,
    Hello,
    KeyGrant,
    Lease,
    Leaving,
    Message,
    Ready,
    Refused,
    Result,
    Route,
    Snapshot,
    ToReplica,
    encode_frame,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "frames.json"
ROUTE = Route("reviews", "default", "reviews", 3, "sha256:ab", "/models/ab", 512, 512, 10_000, 7)
GRANT = KeyGrant("abcdefgh", "00ff", "alice", "default", ["caller"], ["*"], 1.5, 60)
MESSAGES: dict[str, Message] = {
    "hello": Hello("token", "r1", "reviews", 3, "sha256:ab", 7, 4711),
    "ready": Ready(0.5, 1024),
    "lease": Lease(2048, 9),
    "failed": Failed("servable_invalid", "model.onnx cannot be loaded"),
    "leaving": Leaving(),
    "batch": Batch(1, [[101, 5, 102], [101, 102]]),
    "result": Result(1, 2, b"\x00\x00\x80?\x00\x00\x00@", 0.25),
    "batch_failed": BatchFailed(1, "engine_output_invalid", "the model gave no usable scores"),
    "refused": Refused("the join token is wrong"),
    "snapshot": Snapshot(12, 1.0, [ROUTE], [GRANT]),
}
ANY = FromReplica | ToReplica | Snapshot


class TestFrames:
    def test_look_as_they_always_did(self) -> None:
        """The bytes on the wire are a promise to the other release during an update (tests/golden/frames.json)."""
        golden = json.loads(GOLDEN.read_text(encoding="utf-8"))

        assert {name: encode_frame(message).hex() for name, message in MESSAGES.items()} == golden

    @given(cuts=st.lists(st.integers(1, 400), max_size=8))
    def test_arrive_however_the_stream_is_cut(self, cuts: list[int]) -> None:
        """Messages come out whole and in order wherever the bytes are cut."""
        stream = b"".join(map(encode_frame, MESSAGES.values()))
        decoder: FrameDecoder[Message] = FrameDecoder(ANY)

        edges = [0, *sorted(cuts), len(stream)]
        pieces = [stream[start:end] for start, end in itertools.pairwise(edges)]
        received = [message for piece in pieces for message in decoder.feed(piece)]

        assert received == list(MESSAGES.values())

    def test_are_bounded(self) -> None:
        """A length past the limit is refused before anything is kept."""
        decoder: FrameDecoder[Message] = FrameDecoder(ANY, max_bytes=1000)

        with pytest.raises(InvalidInputError, match=r"2,000 bytes is longer than 1,000") as caught:
            decoder.feed((2000).to_bytes(4, "big"))
        assert caught.value.code == "frame_invalid"

    @given(body=st.binary(max_size=200))
    def test_nonsense_is_told_as_such(self, body: bytes) -> None:
        """Whatever comes, either a message is read or the error says that the frame is invalid."""
        decoder: FrameDecoder[Message] = FrameDecoder(ANY)

        with contextlib.suppress(InvalidInputError):
            decoder.feed(len(body).to_bytes(4, "big") + body)

    def test_tolerate_fields_of_a_newer_release(self) -> None:
        """An unknown field is skipped: old and new processes work side by side during an update."""
        body = msgspec.msgpack.encode({"type": "lease", "memory_bytes": 1, "served": 2, "new_in_next_release": True})
        decoder: FrameDecoder[Message] = FrameDecoder(ANY)

        assert decoder.feed(len(body).to_bytes(4, "big") + body) == [Lease(1, 2)]
