"""Sources: every form of a URI, folders with everything wrong in them, video files."""

import os
import subprocess
import sys
import urllib.parse
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.errors import SourceError, UsageError
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.sources import Album, kind_of, open_source
from kdlight_edge.sources.address import login, with_login, without_password, without_secrets
from kdlight_edge.sources.folder import Folder
from tests.edge.encoded import jpeg, video


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# Forms


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("0", "camera"),
        ("/dev/video0", "camera"),
        ("/dev/v4l/by-id/usb-046d_HD_Webcam-video-index0", "camera"),
        ("/dev/kdlight-camera", "camera"),
        ("/dev/kdlight-camera-pci-0000_00_14_0-usb-0_2_1_0", "camera"),
        ("rtsp://10.0.0.7/live", "stream"),
        ("http://10.0.0.7:8080/video.mjpg", "mjpeg"),
        ("https://cam.example/x", "mjpeg"),
        ("scene:crack?fps=5", "scene"),
    ],
)
def test_a_uri_names_its_kind(uri: str, kind: str) -> None:
    assert kind_of(uri) == kind


def test_a_path_is_told_by_what_lies_there(tmp_path: Path) -> None:
    assert kind_of(str(tmp_path)) == "folder"
    assert kind_of(str(write(tmp_path, "a.jpg", b""))) == "folder"
    assert kind_of(str(write(tmp_path, "a.MP4", b""))) == "video"
    (tmp_path / "film.mp4").mkdir()
    assert kind_of(str(tmp_path / "film.mp4")) == "folder"


@pytest.mark.parametrize("uri", ["ftp://cam/x", "bluetooth:cam"])
def test_a_form_that_does_not_work_yet_is_refused_with_those_that_do(uri: str) -> None:
    with pytest.raises(UsageError, match=r"pictures/, picture\.jpg"):
        open_source(uri)


def test_a_path_where_nothing_is_is_refused() -> None:
    with pytest.raises(SourceError, match=r"nowhere/x cannot be read: No such file"):
        open_source("nowhere/x")


def test_a_password_is_never_shown() -> None:
    assert without_password("rtsp://bob:s3cret@cam:554/a@b") == "rtsp://cam:554/a@b"
    assert without_password("http://cam/x") == "http://cam/x"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://cam/video.cgi?user=admin&pwd=s3cret&res=1", "http://cam/video.cgi?user=admin&pwd=...&res=1"),
        ("http://cam/x?loginpass=s3cret", "http://cam/x?loginpass=..."),
        (
            "rtsp://10.0.0.7:554/user=admin&password=s3cret&channel=1&stream=0.sdp?real_stream",
            "rtsp://10.0.0.7:554/user=admin&password=...&channel=1&stream=0.sdp?real_stream",
        ),
        ("http://cam/live?token=Zm9v_YmFy=", "http://cam/live?token=..."),
        ("http://cam/live?x=1&pwd=a_b=c&y=2", "http://cam/live?x=1&pwd=...&y=2"),
        ("http://cam/key=Zm9v_Ym==", "http://cam/key=..."),
        (
            "rtsp://10.0.0.7/user=admin_password=s3/cr_et_channel=1_stream=0.sdp?real_stream",
            "rtsp://10.0.0.7/user=admin_password=..._channel=1_stream=0.sdp?real_stream",
        ),
        (
            "https://cam/live;token=s3cret;n=1?API_KEY=s3/cret&auth=s3",
            "https://cam/live;token=...;n=1?API_KEY=...&auth=...",
        ),
        ("rtsp://cam/live?keyframes=2&pass=", "rtsp://cam/live?keyframes=2&pass=..."),
    ],
)
def test_a_password_behind_the_host_is_never_shown(uri: str, shown: str) -> None:
    assert without_password(uri) == without_password(uri.replace("://", "://bob:s3cret@")) == shown
    assert without_secrets(f"gst:uridecodebin uri={uri} ! queue") == f"gst:uridecodebin uri={shown} ! queue"


@pytest.mark.parametrize("uri", ["rtps://bob:s3cret@cam/live", "rtps://cam/live?pwd=s3cret"])
def test_what_is_no_source_is_refused_without_its_password(uri: str) -> None:
    with pytest.raises(UsageError, match="no source looks like") as refused:
        open_source(uri)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("password", ["p#w", "p?w", "p/w", "p[w", "p@w", "p:w", "p%23w", "p/w@", "]"])
def test_a_password_of_any_signs_is_used_and_never_shown(password: str) -> None:
    for scheme, rest in (("rtsp", "10.0.0.7:554/live"), ("http", "[::1]/x.mjpg?n=1")):
        uri = f"{scheme}://bob:{password}@{rest}"
        assert without_password(uri) == without_password(with_login(uri)) == f"{scheme}://{rest}"
        assert login(uri) == login(with_login(uri)) == ("bob", urllib.parse.unquote(password))
        assert urllib.parse.urlsplit(with_login(uri)).hostname in {"10.0.0.7", "::1"}
    with pytest.raises(SourceError, match=r"no stream at http://\[::1 "):
        open_source("http://bob:p@[::1")
    assert (login("http://cam:80/a@b"), with_login("http://[::1]/a@b")) == (None, "http://[::1]/a@b")


# Folders


def test_a_folder_gives_every_picture_sorted_and_nothing_hidden(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a.jpg", "b/10.jpeg", ".hidden.jpg", ".cache/x.jpg", "notes.txt", "c/d/e.webp"):
        write(tmp_path, name, jpeg())
    folder = Folder(tmp_path)
    assert isinstance(folder, Album)
    assert not folder.live
    items = list(folder)
    assert [item.meta["below"] for item in items] == ["a.jpg", "b/10.jpeg", "b/2.PNG", "c/d/e.webp"]
    assert [item.index for item in items] == [0, 1, 2, 3]
    assert items[1].source == str(tmp_path / "b/10.jpeg")


def test_a_folder_keeps_the_path_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "pictures/a.jpg", jpeg())
    monkeypatch.chdir(tmp_path)
    assert next(iter(open_source("pictures/"))).source == "pictures/a.jpg"


def test_a_frame_of_a_folder_is_rgb_and_knows_its_decoding_time(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", jpeg((200, 10, 10)))
    frame = Folder(tmp_path)[0]
    assert isinstance(frame, Frame)
    assert frame.image.shape == (30, 40, 3)
    assert np.abs(frame.image[0, 0].astype(int) - (200, 10, 10)).max() < 6
    assert frame.meta["decode_ms"] > 0


def test_a_single_picture_is_a_source(tmp_path: Path) -> None:
    path = write(tmp_path, "only.png", cv2.imencode(".png", np.zeros((3, 3, 3), np.uint8))[1].tobytes())
    source = open_source(str(path))
    (frame,) = source
    assert (frame.source, frame.meta["below"]) == (str(path), "only.png")


def test_closing_a_folder_ends_its_iteration(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path, f"{i}.jpg", jpeg())
    folder = Folder(tmp_path)
    seen = []
    for item in folder:
        seen.append(item.index)
        folder.close()
    assert seen == [0]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "notes.txt", b"x")
    with pytest.raises(SourceError, match=r"holds no pictures \(\.bmp"):
        Folder(tmp_path)


def test_files_that_are_left_out_by_their_names_are_told(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", jpeg())
    for name in ("IMG_1.HEIC", "below/IMG_2.heic", "clip.mov", ".hidden.gif", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, name, b"x")
    said: list[str] = []
    assert len(Folder(tmp_path, said.append)) == 1
    assert said == [f"{tmp_path} also holds files that are not read as pictures: 2 .heic, 1 without an ending, 1 .mov"]
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(SourceError, match=r"nor do the folders in it; it holds 2 \.heic"):
        Folder(tmp_path)


def bomb() -> bytes:
    """Return a PNG of 300 bytes that claims 60,000 x 60,000 pixels."""
    content = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    head = content[12:16] + (60_000).to_bytes(4, "big") * 2 + content[24:29]
    return content[:12] + head + zlib.crc32(head).to_bytes(4, "big") + content[33:]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"this is a letter, not a picture", "not a picture"),
        (jpeg()[:-200], "truncated"),
        (bomb(), "refused before unpacking"),
    ],
    ids=["zero bytes", "text", "truncated", "bomb"],
)
def test_a_bad_picture_is_reported_in_its_place(tmp_path: Path, content: bytes, reason: str) -> None:
    for name, body in (("a.jpg", jpeg()), ("b.jpg", content), ("c.jpg", jpeg())):
        write(tmp_path, name, body)
    first, bad, last = Folder(tmp_path)
    assert isinstance(first, Frame)
    assert isinstance(last, Frame)
    assert isinstance(bad, Unreadable)
    assert reason in bad.reason
    assert (bad.index, bad.source) == (1, str(tmp_path / "b.jpg"))


@pytest.mark.parametrize("size", [(1, 1), (20_000, 30)], ids=["1x1", "20,000 wide"])
def test_a_picture_of_an_odd_size_is_read(tmp_path: Path, size: tuple[int, int]) -> None:
    write(tmp_path, "a.jpg", jpeg(size=size))
    (frame,) = Folder(tmp_path)
    assert isinstance(frame, Frame)
    assert frame.image.shape[1::-1] == size


def test_a_file_that_vanishes_after_listing_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg", jpeg())
    folder = Folder(tmp_path)
    path.unlink()
    (bad,) = folder
    assert isinstance(bad, Unreadable)
    assert "No such file" in bad.reason


def test_a_pipe_named_like_a_picture_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    (bad,) = Folder(tmp_path)
    assert isinstance(bad, Unreadable)
    assert "not a file" in bad.reason


def test_a_ring_of_links_ends(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg", jpeg())
    (tmp_path / "a/again").symlink_to(tmp_path, target_is_directory=True)
    assert len(Folder(tmp_path)) == 1


def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    write(closed, "a.jpg", jpeg())
    write(tmp_path / "open", "a.jpg", jpeg())
    closed.chmod(0)
    script = f"from kdlight_edge.sources.folder import Folder; print(len(Folder({str(closed)!r})))"
    try:
        # Root may read everything, so a child process gives its rights away before it looks.
        done = subprocess.run([sys.executable, "-c", as_nobody(script)], capture_output=True, text=True, check=False)
    finally:
        closed.chmod(0o755)
    assert done.stdout == ""
    assert "SourceError" in done.stderr
    assert "closed cannot be read: Permission denied" in done.stderr


def test_a_closed_folder_inside_is_reported_and_the_rest_read(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", jpeg())
    write(tmp_path, "b/1.jpg", jpeg())
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    (tmp_path / "b").chmod(0)
    script = f"from kdlight_edge.sources.folder import Folder; print(*map(repr, Folder({str(tmp_path)!r})))"
    try:
        done = subprocess.run([sys.executable, "-c", as_nobody(script)], capture_output=True, text=True, check=True)
    finally:
        (tmp_path / "b").chmod(0o755)
    assert "Frame(" in done.stdout
    assert "this folder cannot be listed: Permission denied" in done.stdout


def as_nobody(script: str) -> str:
    imports = "import os, kdlight_edge.sources.folder"
    return f"{imports}\nif os.getuid() == 0:\n    os.setgid(65534); os.setuid(65534)\n{script}"


# Video files


def test_a_video_gives_every_frame_in_rgb_and_ends(tmp_path: Path) -> None:
    source = open_source(str(video(tmp_path / "clip.mp4")))
    assert not source.live
    frames = [frame for frame in source if isinstance(frame, Frame)]
    source.close()
    assert [frame.index for frame in frames] == list(range(12))
    reds = [int(frame.image[24, 32, 0]) for frame in frames]
    assert reds == sorted(reds)
    assert reds[-1] > 150
    assert frames[-1].image[24, 32, 2] < 50


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read as a video"):
        open_source(str(write(tmp_path, "clip.mp4", b"no video at all")))


def test_a_video_of_which_no_frame_can_be_decoded_is_an_error(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.mp4")
    content = path.read_bytes()
    at = content.index(b"mdat") + 4
    size = int.from_bytes(content[at - 8 : at - 4], "big") - 8
    path.write_bytes(content[:at] + bytes(size) + content[at + size :])
    (item,) = open_source(str(path))
    assert isinstance(item, Unreadable)
    assert item.reason.startswith("no frame of the video can be decoded")


def test_a_camcorders_video_is_told_by_its_name(tmp_path: Path) -> None:
    assert {kind_of(str(write(tmp_path, f"CLIP{end}", b""))) for end in (".MTS", ".m2ts", ".WMV", ".3gp")} == {"video"}


def test_closing_a_video_ends_its_iteration(tmp_path: Path) -> None:
    source = open_source(str(video(tmp_path / "clip.mp4")))
    count = 0
    for _ in source:
        count += 1
        source.close()
    assert count == 1
