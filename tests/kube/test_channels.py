"""The websocket frames, held against those of the websocket-client package."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from websocket import ABNF
from websocket._abnf import frame_buffer

from pytest_istio_mc.kube.channels import Frames, frame


@given(st.binary(max_size=70_000))
def test_our_frames_are_read_as_meant(payload: bytes) -> None:
    rest = bytearray(frame(ABNF.OPCODE_BINARY, payload))

    def take(size: int) -> bytes:
        taken = bytes(rest[:size])
        del rest[:size]
        return taken

    read = frame_buffer(take, skip_utf8_validation=True).recv_frame()

    assert (read.opcode, read.fin, read.data) == (ABNF.OPCODE_BINARY, 1, payload)
    assert not rest


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=70_000), st.integers(1, 4)), max_size=4),
    st.integers(1, 10_000),
)
def test_frames_are_put_together_from_any_pieces(
    messages: list[tuple[bytes, int]], piece: int
) -> None:
    stream = b"".join(
        _server_message(payload, fragments) + _server_frame(ABNF.OPCODE_PING, b"?", True)
        for payload, fragments in messages
    )
    frames = Frames()

    read = [
        message
        for at in range(0, len(stream), piece)
        for message in frames.feed(stream[at : at + piece])
    ]

    binary = [payload for code, payload in read if code == ABNF.OPCODE_BINARY]
    assert binary == [payload for payload, _ in messages]
    assert sum(code == ABNF.OPCODE_PING for code, _ in read) == len(messages)


def _server_message(payload: bytes, fragments: int) -> bytes:
    size = max(1, -(-len(payload) // fragments))
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    codes = [ABNF.OPCODE_BINARY] + [ABNF.OPCODE_CONT] * (len(parts) - 1)
    return b"".join(
        _server_frame(code, part, number == len(parts))
        for number, (code, part) in enumerate(zip(codes, parts, strict=True), 1)
    )


def _server_frame(code: int, payload: bytes, final: bool) -> bytes:
    return ABNF(fin=int(final), opcode=code, mask_value=0, data=payload).format()
