"""HPACK: the examples of RFC 7541, broken blocks, and what is encoded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.probes.agent import hpack

FIRST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]
SECOND = [*FIRST, ("cache-control", "no-cache")]
THIRD = [(":method", "GET"), (":scheme", "https"), (":path", "/index.html")]
THIRD += [(":authority", "www.example.com"), ("custom-key", "custom-value")]

DATE = "Mon, 21 Oct 2013 20:13:21 GMT"


@pytest.mark.parametrize(
    "blocks",
    [
        [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
        [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
    ],
    ids=["C.3-plain", "C.4-huffman"],
)
def test_the_requests_of_rfc_7541(blocks: list[str]) -> None:
    decoder = hpack.HeaderDecoder()

    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == [FIRST, SECOND, THIRD]


def test_a_response_of_rfc_7541_with_every_kind_of_letter() -> None:
    block = (
        "4882640258"
        "85aec3771a4b"
        "6196d07abe941054d444a8200595040b8166e082a62d1bff"
        "6e919d29ad171863c78f0b97c8e9ae82ae43d3"
    )

    assert hpack.HeaderDecoder().decode(bytes.fromhex(block)) == [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", DATE),
        ("location", "https://www.example.com"),
    ]


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("bf", "out of range"),
        ("80", "out of range"),
        ("000a6162", "inside a string"),
        ("00", "inside a"),
        ("7fffffffffffffff", "too large"),
        ("3fffff7f", "above the limit"),
        ("0082ffff0161", "padding"),
    ],
)
def test_a_broken_header_block_is_refused(block: str, why: str) -> None:
    with pytest.raises(hpack.ProtocolError, match=why):
        hpack.HeaderDecoder().decode(bytes.fromhex(block))


@given(st.lists(st.tuples(st.text("abc-", min_size=1), st.text(st.characters(max_codepoint=255)))))
def test_what_is_encoded_is_decoded(headers: list[tuple[str, str]]) -> None:
    assert hpack.HeaderDecoder().decode(hpack.encode(headers)) == headers


def test_old_entries_leave_the_table() -> None:
    decoder = hpack.HeaderDecoder()
    # 2,048 characters: two such entries do not fit into 4,096
    literal = b"\x40\x01a" + b"\x7f\x81\x0f" + b"x" * 2048
    decoder.decode(literal)
    decoder.decode(literal.replace(b"\x01a", b"\x01b"))

    assert decoder.decode(b"\xbe")[0][0] == "b"
    with pytest.raises(hpack.ProtocolError):
        decoder.decode(b"\xbf")
