"""The address of a listener: read from its URI, or refused."""

import errno
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.cli import main
from kdlight_edge.dicom.listen import Listen, read_listen
from kdlight_edge.errors import SourceError, UsageError
from kdlight_edge.sources.dicom_listener import DicomListener


def test_an_address_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SourceError, match="cannot be listened on"):
        DicomListener(Listen("127.0.0.1", taken.getsockname()[1]), lambda _: None)


def test_who_may_not_have_the_old_port_of_dicom_is_told_which_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pynetdicom.AE.start_server", forbidden)
    with pytest.raises(SourceError, match="Permission denied; ports below 1024 are root's, 11112"):
        DicomListener(Listen("0.0.0.0", 104), lambda _: None)  # noqa: S104 - an example


def test_the_uri_of_a_listener_is_read() -> None:
    uri = "dicom://0.0.0.0:11112?aet=WALL&allow=CT1,MR 2&associations=4&queue=2"
    assert read_listen(uri) == Listen("0.0.0.0", 11112, "WALL", ("CT1", "MR 2"), 4, 2)  # noqa: S104 - an example
    assert read_listen("dicom://[::1]:104") == Listen("::1", 104)
    assert read_listen("dicom://h:1?aet=WALL#1&allow=CT1") == Listen("h", 1, "WALL#1", ("CT1",))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("dicom://0.0.0.0", "names no address and port"),
        ("dicom://:104", "names no address and port"),
        ("dicom://h:99999", "Port out of range"),
        ("dicom://h:1?aets=X", "unknown option aets; there are aet, allow"),
        ("dicom://h:1?aet=SEVENTEEN_LETTERS", "no application entity title"),
        ("dicom://h:1?allow=A,B\\C", "no application entity title"),
        ("dicom://h:1?allow=A&allow=B", "an option is given twice"),
        ("dicom://h:1?allow=", "allow names nobody"),
        ("dicom://h:1?queue=0", "associations and queue are 1 to 1000"),
        ("dicom://h:1?queue=many", "invalid literal"),
    ],
)
def test_a_uri_that_cannot_be_is_refused(uri: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        read_listen(uri)


@pytest.mark.parametrize("flag", [("--vote", "5"), ("--event-dir", "events"), ("--event-hold", "2")])
def test_what_adds_frames_up_is_refused_as_they_are_of_one_patient_after_another(
    flag: tuple[str, str], tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "--camera", "dicom://127.0.0.1:0", "--model", str(tiny_bundle()), *flag]) == 2
    assert f"{flag[0]} says nothing without a camera" in capfd.readouterr().err
