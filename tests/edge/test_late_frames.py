"""An RTSP stream that comes faster than it is decoded: its frames tell how old they are, and it is begun anew."""

import socket

import pytest

from kdlight_edge.sources.lateness import Lateness, unread
from tests.waiting import until


class Buffer:
    """Says how many bytes wait."""

    waiting = 0

    def __call__(self) -> int:
        """Return them."""
        return self.waiting


@pytest.fixture
def buffer() -> Buffer:
    return Buffer()


def test_a_frame_that_waited_to_be_read_is_as_late_as_the_stream_is_behind(buffer: Buffer) -> None:
    late, buffer.waiting = Lateness(buffer), 1
    found = [late.of(index / 30, 100 + index / 10) for index in range(30)]
    assert found[0] == 0
    assert found[-1] == pytest.approx(29 / 10 - 29 / 30)
    assert late.of(2.9, 103.0) == 0  # it has caught up


def test_a_camera_that_counts_frames_and_calls_that_time_is_not_late_while_nothing_waits(buffer: Buffer) -> None:
    late = Lateness(buffer)
    assert not any(late.of(index / 30, index / 20) for index in range(5000))


def test_clocks_that_drift_apart_make_no_frame_late(buffer: Buffer) -> None:
    late = Lateness(buffer)
    for second in range(50_000):
        assert not late.of(second, second * (1 + 1e-4))
    buffer.waiting = 1
    assert not late.of(50_000, 50_000 * (1 + 1e-4))


@pytest.mark.parametrize("step", [-1e6, -3.0, 1e6])
def test_a_camera_whose_clock_is_set_is_not_late(buffer: Buffer, step: float) -> None:
    late = Lateness(buffer)
    assert not any(late.of(1 + index / 30, index / 30) for index in range(100))
    buffer.waiting = 1
    assert not any(late.of(1 + step + index / 30, index / 30) for index in range(100, 200))


def test_a_stream_without_times_is_not_late(buffer: Buffer) -> None:
    late, buffer.waiting = Lateness(buffer), 1
    assert not any(late.of(0.0, now) for now in range(100))


def test_the_bytes_that_were_not_read_are_counted_by_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as reader:
            sender, _ = listener.accept()
            with sender:
                sender.sendall(b"x" * 1000)
                until(lambda: unread(f"rtsp://u:p@127.0.0.1:{port}/x") == 1000, "a thousand bytes")
                assert unread("rtsp://127.0.0.1/x") == 0
                reader.recv(1000)
                assert unread(f"http://127.0.0.1:{port}/x") == 0
