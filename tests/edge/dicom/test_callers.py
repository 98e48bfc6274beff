"""Callers of the listener that stop in the middle of a unit, or begin one without end: none keeps its place."""

import gc
import socket
import struct
import warnings
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from kdlight_edge.dicom import caller
from kdlight_edge.dicom.listen import Listen
from kdlight_edge.sources.dicom_listener import DicomListener
from tests.waiting import LIMIT, until

ASSOCIATE = 0x01


@pytest.fixture
def listener() -> Iterator[DicomListener]:
    """A listener that has one caller at a time."""
    listener = DicomListener(Listen("127.0.0.1", 0, associations=1), lambda _: None)
    listener._ae.acse_timeout = 1  # how long pynetdicom waits for the call of somebody who is gone
    yield listener
    listener.close()
    with warnings.catch_warnings():  # a caller that was turned away leaves pynetdicom's socket to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def echo(port: int) -> bool:
    entity = AE()
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port)
    if not association.is_established:
        return False
    status: int | None = association.send_c_echo().get("Status")
    association.release()
    return status == 0


@pytest.mark.parametrize("content", [b"\1\0\0", b"\1\0" + struct.pack(">L", 100) + b"\0" * 50], ids=["head", "rest"])
def test_a_caller_that_stops_in_the_middle_of_a_unit_loses_its_place(
    listener: DicomListener, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(caller, "UNIT_SECONDS", 1.0)
    with socket.create_connection(("127.0.0.1", listener.port), LIMIT) as silent:
        silent.sendall(content)
        until(lambda: not echo(listener.port))  # its place is taken
        until(lambda: echo(listener.port))


def test_a_caller_that_sends_byte_by_byte_loses_its_place_too(
    listener: DicomListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller, "UNIT_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", listener.port), LIMIT) as slow:
        slow.sendall(bytes([ASSOCIATE, 0]) + struct.pack(">L", 1000))
        slow.settimeout(0.02)
        sent = 0
        with suppress(ConnectionError):
            while not hung_up(slow):
                sent += slow.send(b"\0")
        assert sent < 1000
    until(lambda: echo(listener.port))


def test_a_unit_that_says_it_has_four_gigabytes_is_not_read(listener: DicomListener) -> None:
    with socket.create_connection(("127.0.0.1", listener.port), LIMIT) as endless:
        endless.sendall(bytes([ASSOCIATE, 0]) + struct.pack(">L", 0xFFFFFFF0))
        assert endless.recv(1) == b""
    until(lambda: echo(listener.port))


def test_callers_are_told_how_large_a_unit_may_be(listener: DicomListener) -> None:
    entity = AE()
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", listener.port)
    assert association.is_established
    assert association.acceptor.maximum_length == caller.ANNOUNCED < caller.LARGEST_UNIT
    association.release()
