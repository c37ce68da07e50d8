"""Hostile bytes for an HTTP gateway: named ones, each with what is wrong with it, and ones that a seed makes.

`{id}` stands for a number that is in no other case, so that what is forwarded can be told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

FIRST_ID = 100_000

EVIL = b"POST /shop/{id}/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
"""A request that must not come out of the body of another one."""
EVIL_BYTES = len(EVIL) + 2
"""With a number of six digits."""

POST = b"POST /shop/{id} HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /shop/{id} HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def length(size: int) -> bytes:
    """A Content-Length line."""
    return b"Content-Length: %d\r\n" % size


REFUSED: dict[str, bytes] = {
    # Two framings
    "CL.TE": POST + length(4) + CHUNKED + b"\r\n0\r\n\r\n" + EVIL,
    "TE.CL": POST + CHUNKED + length(4) + b"\r\n%x\r\n" % EVIL_BYTES + EVIL + b"\r\n0\r\n\r\n",
    "TE.TE, one obscured": POST + CHUNKED + b"Transfer-Encoding: x\r\n\r\n0\r\n\r\n" + EVIL,
    "TE in a tab": POST + length(4) + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + EVIL,
    "TE after a vertical tab": POST + length(4) + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + EVIL,
    "TE in quotes": POST + length(4) + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + EVIL,
    "TE in a list": POST + length(4) + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "TE in capitals": POST + length(4) + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n" + EVIL,
    "TE of an unknown kind": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + EVIL,
    "TE in HTTP/1.0": POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n" + EVIL,
    "space before the colon of TE": POST + length(4) + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "TE behind a folded line": POST + b"X: 1\r\n Transfer-Encoding: chunked\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + EVIL,
    # Chunks
    "chunks": POST + CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n",
    "chunk extension with a line feed": POST + CHUNKED + b"\r\n2;\nxx\r\n0\r\n\r\n" + EVIL,
    "chunk of a huge size": POST + CHUNKED + b"\r\nffffffffffffffff0\r\nabc\r\n0\r\n\r\n" + EVIL,
    "chunk of a negative size": POST + CHUNKED + b"\r\n-1\r\nabc\r\n0\r\n\r\n",
    "trailers": POST + CHUNKED + b"\r\n0\r\nContent-Length: 9\r\n\r\n" + EVIL,
    # Lengths
    "two lengths": POST + length(0) + length(EVIL_BYTES) + b"\r\n" + EVIL,
    "two lengths in a list": POST + b"Content-Length: 0, %d\r\n\r\n" % EVIL_BYTES + EVIL,
    "length with a sign": POST + b"Content-Length: +%d\r\n\r\n" % EVIL_BYTES + EVIL,
    "negative length": POST + b"Content-Length: -1\r\n\r\n" + EVIL,
    "hexadecimal length": POST + b"Content-Length: 0x%x\r\n\r\n" % EVIL_BYTES + EVIL,
    "length with a fraction": POST + b"Content-Length: %d.0\r\n\r\n" % EVIL_BYTES + EVIL,
    "empty length": POST + b"Content-Length: \r\n\r\n" + EVIL,
    "length of 2^64": POST + length(1 << 64) + b"\r\n" + EVIL,
    "length of 2^64 and one": POST + length((1 << 64) + 1) + b"\r\n" + EVIL,
    "length of 2^65": POST + length(1 << 65) + b"\r\n" + EVIL,
    "space before the colon of a length": POST + b"Content-Length : %d\r\n\r\n" % EVIL_BYTES + EVIL,
    "length in a folded line": POST + b"Content-Length:\r\n 9\r\n 1\r\n\r\n" + EVIL,
    # Lines
    "header without a colon": GET + b"nonsense\r\n\r\n",
    "header without a name": GET + b": 1\r\n\r\n",
    "header in the first line's fold": b"GET /shop/{id} HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "NUL in a name": GET + b"X\0Y: 1\r\n\r\n",
    "NUL in a value": GET + b"X: a\0b\r\n\r\n",
    "carriage return in a value": GET + b"X: a\rContent-Length: 5\r\n\r\n",
    "bell in a name": GET + b"X\x07: 1\r\n\r\n",
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    # First line
    "no version": b"GET /shop/{id}\r\n\r\n",
    "version 0.9": b"GET /shop/{id} HTTP/0.9\r\n\r\n",
    "version 2.0": b"GET /shop/{id} HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "version 1.x": b"GET /shop/{id} HTTP/1.x\r\nHost: localhost\r\n\r\n",
    "version in small letters": b"GET /shop/{id} http/1.1\r\nHost: localhost\r\n\r\n",
    "space in the target": b"GET /shop/{id} x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "method with a bracket": b"G[T /shop/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "NUL in the target": b"GET /shop/{id}\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "fragment in the target": b"GET /shop/{id}#/../x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    # Targets
    "authority form": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n",
    "authority form of a path": b"CONNECT /shop/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another authority than Host": b"GET http://evil.example/shop/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no slash": b"GET shop/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "path to the outside": b"GET /shop/../{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "escaped path to the outside": b"GET /shop/%2e%2E/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "escaped slash to the outside": b"GET /shop/..%2f{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "backslash to the outside": b"GET /shop/..\\{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "escaped backslash to the outside": b"GET /shop/..%5c{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "outside before a broken escape": b"GET /shop/../{id}%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "outside before half an escape": b"GET /shop/../{id}% HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "outside behind a NUL": b"GET /shop/%00/../../{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "escaped NUL": b"GET /shop/{id}%00.txt HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "outside by absolute form": b"GET http://localhost/shop/../{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    # Other protocols
    "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 64,
    "PROXY protocol": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + GET + b"\r\n",
    "nothing but line feeds and NUL": b"\r\n\r\n\n\0\r\n\r\n",
    # Sizes
    "5,000 headers": GET + b"a:1\r\n" * 5_000 + b"\r\n",
    "a header of 64 KiB": GET + b"X: " + b"x" * 65_536 + b"\r\n\r\n",
    "a name of 64 KiB": GET + b"x" * 65_536 + b": 1\r\n\r\n",
    "a target of 64 KiB": b"GET /shop/{id}" + b"x" * 65_536 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method of 64 KiB": b"G" * 65_536 + b" /shop/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
"""No site sees anything of these."""

SERVED: dict[str, tuple[bytes, int]] = {
    "plain": (GET + b"\r\n", 1),
    "with a body": (POST + length(3) + b"\r\nabc", 1),
    "a request in a body": (POST + length(EVIL_BYTES) + b"\r\n" + EVIL, 1),
    "zeros before the length": (POST + b"Content-Length: 000000000003\r\n\r\nabc", 1),
    "two in a row": (GET + b"\r\n" + GET + b"\r\n", 2),
    "the same length twice": (POST + length(3) + length(3) + b"\r\nabc", 1),
    "bare line feeds": (GET.replace(b"\r\n", b"\n") + b"\n", 1),
    "a folded line": (GET + b"X: a\r\n b\r\n\r\n", 1),
    "absolute form": (b"GET http://localhost/shop/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n", 1),
    "another scheme": (b"GET gopher://localhost/shop/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n", 1),
    "two spaces": (b"GET  /shop/{id}  HTTP/1.1\r\nHost: localhost\r\n\r\n", 1),
    "HTTP/1.0": (b"GET /shop/{id} HTTP/1.0\r\n\r\n", 1),
    "HTTP/1.0 and one more": (b"GET /shop/{id} HTTP/1.0\r\n\r\n" + GET + b"\r\n", 1),
    "upgrade to HTTP/2": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAA\r\n\r\n",
        1,
    ),
    "upgrade to a web socket": (
        GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        1,
    ),
    "names with underscores": (GET + b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n", 1),
    "connection names the length": (POST + b"Connection: Content-Length\r\n" + length(3) + b"\r\nabc", 1),
    "waits to go on": (POST + b"Expect: 100-continue\r\n" + length(3) + b"\r\nabc", 1),
    "twice escaped dots": (b"GET /shop/%252e%252e/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n", 1),
    "dots in the query": (b"GET /shop/{id}?x=/../../etc HTTP/1.1\r\nHost: localhost\r\n\r\n", 1),
    "empty folders": (b"GET /shop////{id} HTTP/1.1\r\nHost: localhost\r\n\r\n", 1),
}
"""Odd or not, these mean one thing: so many requests reach a site, each as the client meant it."""


METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"TRACE", b"get", b"G@T", b"", b"GET\t", b"\nGET")
TARGETS = (
    *(b"/shop/{id}", b"/shop/{id}?q=1", b"/shop/{id}/..", b"/shop/../{id}", b"/shop/%2e%2e/{id}", b"/shop/{id}%zz/.."),
    *(b"/shop/%/../{id}", b"/shop/{id}%00/..", b"/shop//{id}", b"//shop/{id}", b"/shop%2f{id}", b"/shop;a=b/{id}"),
    *(b"http://localhost/shop/{id}", b"HTTP://localhost/shop/../{id}", b"http://evil/shop/{id}", b"http:/shop/{id}"),
    *(
        b"localhost:80",
        b"*",
        b"",
        b"shop/{id}",
        b"/shop\\..\\{id}",
        b"/shop/{id}#/../x",
        b"/shop/{id}\xff",
        b"/shop/{id} x",
    ),
)
VERSIONS = (
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/1.2",
    b"http/1.1",
    b"HTTP/01.1",
    b"",
    b"HTTP/1.1 x",
)
HEADERS = (
    *(b"Host: localhost", b"Host: evil.example", b"Host: localhost, evil", b"Host:", b"X: 1", b"X: " + b"y" * 3_000),
    *(b"Content-Length: %d" % size for size in (0, 1, 5, EVIL_BYTES, EVIL_BYTES + 5, 1 << 21, 1 << 65)),
    *(
        b"Content-Length: +5",
        b"Content-Length:5,5",
        b"Content-Length: 5, 6",
        b"Content-Length: 05",
        b"Content-Length: 5 ",
    ),
    *(b"Content-Length : 5", b"Content_Length: 5", b"\x0bContent-Length: 5", b"Content-Length: \xc2\xb95"),
    *(
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, gzip",
        b"TE: trailers",
    ),
    *(b"Transfer-Encoding:\x00chunked", b"Transfer-Encoding : chunked", b" Transfer-Encoding: chunked", b"Trailer: X"),
    *(b"Connection: close", b"Connection: keep-alive", b"Connection: Content-Length", b"Connection: Transfer-Encoding"),
    *(
        b"Connection: Upgrade",
        b"Upgrade: h2c",
        b"Upgrade: websocket",
        b"HTTP2-Settings: AAMAAA",
        b"Expect: 100-continue",
    ),
    *(
        b"Expect: x",
        b" folded",
        b"\tfolded",
        b"no colon",
        b": no name",
        b"X\0: 1",
        b"X: \0",
        b"X: \r y",
        b"X: \x7f\x01",
    ),
    *(
        b"X-Hcctl-Site: cloud",
        b"X-Request-Id: mine",
        b"Origin: null",
        b"Authorization: Bearer x",
        b"X-Forwarded-For: 1",
    ),
)
ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r")
BODIES = (
    b"",
    b"",
    b"abcde",
    EVIL,
    b"abcde" + EVIL,
    b"5\r\nabcde\r\n0\r\n\r\n" + EVIL,
    b"0\r\n\r\n" + EVIL,
    EVIL + EVIL,
    b"\0",
)
BYTES = b"\0\r\n\t :;,%/\\\"'\x7f\x80\xff0aA"


def generated(chance: Random) -> bytes:
    """A request of parts, of which few are hostile; in one of three, some bytes are changed at random besides."""

    def part(good: Sequence[bytes], all_of_it: Sequence[bytes]) -> bytes:
        return chance.choice(good if chance.random() < 0.7 else all_of_it)

    start = b" ".join((part(METHODS[:2], METHODS), part(TARGETS[:2], TARGETS), part(VERSIONS[:1], VERSIONS)))
    lines = [start, b"Host: localhost", *(chance.choice(HEADERS) for _ in range(chance.choice((0, 1, 1, 2, 4))))]
    data = bytearray(part(ENDS[:1], ENDS).join([*lines, b"", b""]) + chance.choice(BODIES))
    for _ in range(chance.choice((0, 0, 1)) * chance.randint(1, 4)):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(2)] = bytes([chance.choice(BYTES)])
    return bytes(data)


def numbered(data: bytes, number: int) -> bytes:
    """The case with its number."""
    return data.replace(b"{id}", b"%d" % (FIRST_ID + number))
