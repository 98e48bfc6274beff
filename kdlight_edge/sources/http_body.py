"""The body of an HTTP answer as it comes in: chunked or not, one system call for what is there, into given memory."""

import io
import re
from http.client import HTTPResponse

ROOM = max(64 << 10, 2 * io.DEFAULT_BUFFER_SIZE)
"""Bytes of memory that are given for each read at least: with as much, Python reads past the buffer of its own."""

_CHUNK = re.compile(rb"(?:\r\n)?([0-9a-fA-F]{1,8})[^\r\n]{0,256}\r\n")
"""What stands before a chunk (RFC 9112, section 7.1), with the end of the one before it."""

_LONGEST = 300


class Body:
    """Reads on, where `HTTPResponse` takes three system calls and three copies for each chunk of a camera's picture.

    The kernel would let the thread sleep until a whole picture is there (SO_RCVLOWAT). But it acknowledges late what
    nobody reads, and a camera that sends the length of a chunk by itself keeps the picture back until then.
    """

    def __init__(self, answer: HTTPResponse) -> None:
        """Take an answer whose header was read, and perhaps the beginning of its body by ``peek``."""
        self._source = answer.fp
        self._chunked = answer.chunked
        begun = getattr(answer, "chunk_left", None)
        self._left = begun if isinstance(begun, int) else 0
        """Bytes of the chunk that are still to come."""
        self._buffered = True
        """Whether Python's buffer may still hold what came with the header."""
        self._raw = memoryview(bytearray(2 * ROOM if self._chunked else 0))
        self._begin = self._end = 0
        # Past two layers of Python's, which are a long way for a thread that has just woken.
        connection = getattr(getattr(answer.fp, "raw", None), "_sock", None)
        self._receive = getattr(connection, "recv_into", answer.fp.readinto1)

    def read_into(self, room: memoryview) -> int:
        """Read what is there into memory of `ROOM` bytes or more, waiting for a byte at least.

        Returns:
            How many bytes were written to the beginning of ``room``; 0 at the end of the body.

        Raises:
            TimeoutError: nothing came for the timeout of the connection.
            OSError: it broke.
            ValueError: the chunks are not chunks.
        """
        if not self._chunked:
            return self._read(room)
        if (self._begin == self._end and not self._more()) or (not self._left and not self._next_chunk()):
            return 0
        if self._begin == self._end and not self._more():
            return 0
        count = min(self._left, self._end - self._begin, len(room))
        room[:count] = self._raw[self._begin : self._begin + count]
        self._begin += count
        self._left -= count
        return count

    def _read(self, room: memoryview) -> int:
        if self._buffered:
            self._buffered = False
            content = self._source.read1(len(room))  # `readinto1` would wait for more than that
            room[: len(content)] = content
            return len(content)
        count: int = self._receive(room)
        return count

    def _more(self) -> int:
        """Take in what is there, behind what was not used yet."""
        rest = self._end - self._begin
        if rest:
            self._raw[:rest] = self._raw[self._begin : self._end]
        count = self._read(self._raw[rest:])
        self._begin, self._end = 0, rest + count
        return count

    def _next_chunk(self) -> int:
        """Return the length of the next chunk; 0 where there is none."""
        while (found := _CHUNK.match(self._raw, self._begin, self._end)) is None:
            if self._end - self._begin > _LONGEST:
                raise ValueError("its chunks have no lengths")
            if not self._more():
                return 0
        self._begin, self._left = found.end(), int(found[1], 16)
        return self._left
