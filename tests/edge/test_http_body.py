"""The body of an HTTP answer is what was sent, however it was cut into chunks, packets and reads."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from kdlight_edge.sources.http_body import ROOM, Body

LIMIT = 20.0
CONTENT = np.random.default_rng(5).integers(0, 256, 300_000, np.uint8).tobytes()


@pytest.fixture
def answers() -> Iterator[Callable[..., http.client.HTTPResponse]]:
    """Give ``answers(head, *packets)``: an answer whose packets are sent one after the other."""
    with contextlib.ExitStack() as stack:

        def answer(head: bytes, *packets: bytes) -> http.client.HTTPResponse:
            ours, theirs = socket.socketpair()
            stack.callback(ours.close)
            ours.settimeout(LIMIT)
            response = http.client.HTTPResponse(ours)
            stack.callback(response.close)
            theirs.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + packets[0])
            response.begin()

            def send() -> None:
                with theirs:
                    for packet in packets[1:]:
                        theirs.sendall(packet)

            sender = threading.Thread(target=send)
            sender.start()
            stack.callback(sender.join, LIMIT)
            return response

        yield answer


def read_all(body: Body) -> bytes:
    room, found = memoryview(bytearray(ROOM)), bytearray()
    while count := body.read_into(room):
        found += room[:count]
    return bytes(found)


def chunked(content: bytes, size: int, *, note: bytes = b"") -> bytes:
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(part), note, part) for part in parts) + b"0\r\n\r\n"


def packets(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


@pytest.mark.parametrize(("chunk", "packet"), [(1, 999), (7, 4096), (8186, 8193), (70_000, 65_537), (300_000, 1_000)])
def test_chunks_of_any_size_in_packets_of_any_size_make_the_body(
    answers: Callable[..., http.client.HTTPResponse], chunk: int, packet: int
) -> None:
    content = CONTENT[: 20_000 if chunk < 100 else None]
    sent = packets(chunked(content, chunk, note=b"; x=1"), packet)
    assert read_all(Body(answers(b"Transfer-Encoding: chunked", *sent))) == content


def test_a_body_without_chunks_is_read_to_its_end(answers: Callable[..., http.client.HTTPResponse]) -> None:
    assert read_all(Body(answers(b"Content-Type: x/y", *packets(CONTENT, 30_000)))) == CONTENT


def test_what_was_looked_at_before_is_not_lost(answers: Callable[..., http.client.HTTPResponse]) -> None:
    answer = answers(b"Transfer-Encoding: chunked", *packets(chunked(CONTENT, 5_000), 2_000))
    assert CONTENT.startswith(answer.peek(8)[:8])
    assert read_all(Body(answer)) == CONTENT


@pytest.mark.parametrize(("head", "sent"), [(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n"), (b"X: y", b"hello")])
def test_what_has_come_is_given_without_waiting_for_more(head: bytes, sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, contextlib.closing(http.client.HTTPResponse(ours)) as answer:
        ours.settimeout(2.0)
        theirs.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + sent)
        answer.begin()
        room, body = memoryview(bytearray(ROOM)), Body(answer)
        assert bytes(room[: body.read_into(room)]) == b"hello"
        with pytest.raises(TimeoutError):
            body.read_into(room)


def test_chunks_that_are_none_are_an_error(answers: Callable[..., http.client.HTTPResponse]) -> None:
    answer = answers(b"Transfer-Encoding: chunked", b"--edge" * 100)
    with pytest.raises(ValueError, match="no lengths"):
        read_all(Body(answer))
