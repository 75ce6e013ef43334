"""Answers as they arrive: whole in any pieces, refused where their end is in doubt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.evidence.answer import HEAD_LIMIT, Answer, BadAnswer, Reading

LIMIT = 1000
OK = b"HTTP/1.1 200 OK\r\n"


def read(*pieces: bytes) -> Answer | None:
    """The answer; None while it is not whole."""
    reading, answer = Reading(LIMIT), None
    for piece in pieces:
        answer = reading.take(piece)
    return answer


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", Answer(200, b"{}", True)),
        (OK + b"content-length:2 \r\nConnection: Keep-Alive\r\n\r\n{}", Answer(200, b"{}", True)),
        (OK + b"Content-Length: 2\r\nConnection: x , Close\r\n\r\n{}", Answer(200, b"{}", False)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", Answer(200, b"", False)),
        (b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", Answer(404, b"", True)),
        (b"HTTP/1.1 503\r\nContent-Length: 1\r\n\r\n-", Answer(503, b"-", True)),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n01\r\n}\r\n0\r\n\r\n",
            Answer(200, b"{}", True),
        ),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n0\r\nDigest: x\r\n\r\n", Answer(200, b"", True)),
        (OK + b"Content-Encoding: identity\r\nContent-Length: 1\r\n\r\n1", Answer(200, b"1", True)),
    ],
)
def test_an_answer_is_whole_in_one_piece_and_byte_by_byte(data: bytes, expected: Answer) -> None:
    assert read(data) == expected
    assert read(*(data[at : at + 1] for at in range(len(data)))) == expected
    assert all(read(data[:end]) is None for end in range(len(data))), "never whole before its end"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "Expected HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "Expected dot"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "status 100"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "Invalid status code"),
        (b"\x16\x03\x01\x02\r\n\r\n", "Expected HTTP"),
        (OK + b"no colon\r\n\r\n", "Invalid header token"),
        (OK + b"Content-Length : 2\r\n\r\n{}", "Invalid header field char"),
        (OK + b"X: a\r\n folded\r\nContent-Length: 2\r\n\r\n{}", "Unexpected whitespace"),
        (OK + b"X: a\rb\r\nContent-Length: 2\r\n\r\n{}", "Missing expected LF"),
        (OK + b"\r\n{}", "where it ends"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "where it ends"),
        (OK + b"Content-Length: -1\r\n\r\n", "Invalid character in Content-Length"),
        (OK + b"Content-Length: +2\r\n\r\n{}", "Invalid character in Content-Length"),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "Duplicate Content-Length"),
        (OK + b"Content-Length: 99999999999999999999\r\n\r\n", "Content-Length overflow"),
        (
            OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "can't be present with Content-Length",
        ),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "no whole answer of HTTP/1"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "status 101"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "not known"),
        (OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "not known"),
        (
            OK + b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
            "compressed",
        ),
        (OK + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}x", "after `Connection: close`"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * HEAD_LIMIT, "bytes came that are no body"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n..", "compressed"),
        (OK + b"Content-Length: 1001\r\n\r\n", "more than 1000 bytes"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b" " * 1001, "more than 1000 bytes"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n1f4\r\n" + b" " * 500 + b"\r\n1f5\r\n" + b" " * 501,
            "more than 1000 bytes",
        ),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n", "Invalid character in chunk size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n", "Invalid character in chunk size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1_0\r\n", "Invalid character in chunk size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n", "Expected LF after chunk data"),
        (OK + b"Content-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n", "more came than was asked for"),
        (OK + b"X: " + b"a" * HEAD_LIMIT, "bytes came that are no body"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * HEAD_LIMIT, "Chunk size overflow"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * HEAD_LIMIT,
            "bytes came that are no body",
        ),
    ],
)
def test_what_is_in_doubt_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        read(data)


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=20), st.booleans())
def test_a_body_comes_through_whatever_it_holds_and_however_it_is_cut(
    body: bytes, cuts: list[int], chunked: bool
) -> None:
    if chunked:
        parts = [body[at : at + 7] for at in range(0, len(body), 7)]
        coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        data = OK + b"Transfer-Encoding: chunked\r\n\r\n" + coded
    else:
        data = OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    assert read(*(piece for piece in [*pieces, data[at:]] if piece)) == Answer(200, body, True)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waited_for_and_nothing_else_is_raised(garbage: bytes) -> None:
    for data in (garbage, OK + garbage, OK + b"Transfer-Encoding: chunked\r\n\r\n" + garbage):
        try:
            read(data)
        except BadAnswer:
            continue
