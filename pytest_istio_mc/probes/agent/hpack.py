"""HPACK, the compression of headers in HTTP/2 (RFC 7541).

Runs inside probe pods: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

TABLE_LIMIT = 4096  # RFC 7541 §4.2: the dynamic table's size as long as we do not announce another

# RFC 7541 appendix A; an entry is a name, or a name and a value.
_STATIC_ENTRIES = (
    ":authority;:method=GET;:method=POST;:path=/;:path=/index.html;:scheme=http;:scheme=https;"
    ":status=200;:status=204;:status=206;:status=304;:status=400;:status=404;:status=500;"
    "accept-charset;accept-encoding=gzip, deflate;accept-language;accept-ranges;accept;"
    "access-control-allow-origin;age;allow;authorization;cache-control;content-disposition;"
    "content-encoding;content-language;content-length;content-location;content-range;"
    "content-type;cookie;date;etag;expect;expires;from;host;if-match;if-modified-since;"
    "if-none-match;if-range;if-unmodified-since;last-modified;link;location;max-forwards;"
    "proxy-authenticate;proxy-authorization;range;referer;refresh;retry-after;server;set-cookie;"
    "strict-transport-security;transfer-encoding;user-agent;vary;via;www-authenticate"
)
STATIC_TABLE = [
    (entry.partition("=")[0], entry.partition("=")[2]) for entry in _STATIC_ENTRIES.split(";")
]

# RFC 7541 appendix B: the code is canonical, so that the lengths of the symbols' codes, two
# hexadecimal digits each, are all of it.
_CODE_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b0806"
    "06060505050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d"
    "130d0e060f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617"
    "17171717181718181617181717171715161716171718161514161617171517161618151617171515161517161717"
    "14161616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b141814151615"
    "15171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)


class ProtocolError(OSError):
    """The peer broke the protocol, refused a stream or closed inside a message.

    It is an OSError like any other broken connection.
    """


def _huffman_codes() -> dict[tuple[int, int], int]:
    codes: dict[tuple[int, int], int] = {}
    code = length = 0
    for symbol in sorted(range(257), key=lambda symbol: (_CODE_LENGTHS[symbol], symbol)):
        code <<= _CODE_LENGTHS[symbol] - length
        length = _CODE_LENGTHS[symbol]
        codes[length, code] = symbol
        code += 1
    return codes


_CODES = _huffman_codes()


class HeaderDecoder:
    """Decodes the header blocks of one connection, which share a dynamic table."""

    def __init__(self) -> None:
        self._table: list[tuple[str, str]] = []
        self._limit = TABLE_LIMIT

    def decode(self, block: bytes) -> list[tuple[str, str]]:
        """The headers of one complete header block, in order."""
        headers: list[tuple[str, str]] = []
        at = 0
        while at < len(block):
            byte = block[at]
            if byte & 0x80:
                index, at = self._integer(block, at, 7)
                headers.append(self._entry(index))
            elif byte & 0xE0 == 0x20:
                self._limit, at = self._integer(block, at, 5)
                if self._limit > TABLE_LIMIT:
                    raise ProtocolError("HPACK: table size above the limit")
                self._evict()
            else:
                remember = bool(byte & 0x40)
                index, at = self._integer(block, at, 6 if remember else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = self._string(block, at)
                value, at = self._string(block, at)
                headers.append((name, value))
                if remember:
                    self._table.insert(0, (name, value))
                    self._evict()
        return headers

    def _entry(self, index: int) -> tuple[str, str]:
        if 1 <= index <= len(STATIC_TABLE):
            return STATIC_TABLE[index - 1]
        if len(STATIC_TABLE) < index <= len(STATIC_TABLE) + len(self._table):
            return self._table[index - len(STATIC_TABLE) - 1]
        raise ProtocolError(f"HPACK: index {index} out of range")

    def _evict(self) -> None:
        while sum(len(name) + len(value) + 32 for name, value in self._table) > self._limit:
            self._table.pop()

    @staticmethod
    def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
        limit = (1 << bits) - 1
        try:
            value = block[at] & limit
            at += 1
            shift = 0
            while value >= limit:
                value += (block[at] & 0x7F) << shift
                shift += 7
                at += 1
                if not block[at - 1] & 0x80:
                    break
                if shift > 28:
                    raise ProtocolError("HPACK: integer too large")
        except IndexError:
            raise ProtocolError("HPACK: block ends inside an integer") from None
        return value, at

    def _string(self, block: bytes, at: int) -> tuple[str, int]:
        coded = at < len(block) and bool(block[at] & 0x80)
        length, at = self._integer(block, at, 7)
        raw = block[at : at + length]
        if len(raw) != length:
            raise ProtocolError("HPACK: block ends inside a string")
        return (self._huffman(raw) if coded else raw).decode("latin-1"), at + length

    @staticmethod
    def _huffman(raw: bytes) -> bytes:
        out = bytearray()
        code = length = 0
        for byte in raw:
            for shift in range(7, -1, -1):
                code = code << 1 | (byte >> shift & 1)
                length += 1
                symbol = _CODES.get((length, code))
                if symbol is not None:
                    out.append(symbol)
                    code = length = 0
        if length > 7 or code != (1 << length) - 1:  # RFC 7541 §5.2: fewer than 8 bits, all ones
            raise ProtocolError("HPACK: wrong padding")
        return bytes(out)


def encode(headers: list[tuple[str, str]]) -> bytes:
    """A header block of literals, neither indexed nor Huffman-coded (RFC 7541 §6.2.2)."""
    block = bytearray()
    for name, value in headers:
        block.append(0)
        for text in (name.encode("latin-1"), value.encode("latin-1")):
            if len(text) < 127:
                block.append(len(text))
            else:
                block.append(127)
                rest = len(text) - 127
                while rest >= 128:
                    block.append(rest & 0x7F | 0x80)
                    rest >>= 7
                block.append(rest)
            block += text
    return bytes(block)
