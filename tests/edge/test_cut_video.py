"""Video files that are cut off end with an error; whole ones do not, however far off their containers count."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdlight_edge.cli import main
from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.sources.extent import told_bytes
from kdlight_edge.sources.opencv import Video

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: apt install ffmpeg")

PICTURES = ["-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=4"]
SOUND = ["-f", "lavfi", "-i", "sine=d=8"]
FEWER = ["-vf", "select='if(lt(t,2),1,not(mod(n,5)))'", "-fps_mode", "vfr"]
FRAGMENTS = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-g", "25"]
FAST = ["-movflags", "+faststart"]


def ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *map(str, arguments)], check=True, timeout=60)


def film(file: Path, *flags: str) -> Path:
    codec = ["libvpx", "-deadline", "realtime"] if file.suffix == ".webm" else ["libx264", "-preset", "ultrafast"]
    ffmpeg(*PICTURES, *flags, "-c:v", *codec, "-pix_fmt", "yuv420p", file)
    return file


def cut(file: Path, share: float) -> Path:
    content = file.read_bytes()
    torn = file.with_name(f"torn-{file.name}")
    torn.write_bytes(content[: round(len(content) * share)])
    return torn


def read(file: Path) -> tuple[int, str]:
    """Return how many frames came, and the reason of the error at the end."""
    video = Video(str(file))
    items = list(video)
    video.close()
    errors = [item.reason for item in items if isinstance(item, Unreadable)]
    assert len(errors) <= 1
    return sum(isinstance(item, Frame) for item in items), "".join(errors)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.webm"])
@pytest.mark.parametrize("flags", [[], SOUND, FEWER], ids=["plain", "long sound", "fewer frames"])
def test_whole_videos_end_without_an_error_and_cut_ones_with_it(tmp_path: Path, name: str, flags: list[str]) -> None:
    file = film(tmp_path / name, *flags, *(FAST if name == "a.mp4" else []))
    whole, said = read(file)
    assert (whole, said) == (100 if flags != FEWER else 60, "")
    torn = cut(file, 0.3)
    count, said = read(torn)
    assert count < whole
    told = f"{torn.stat().st_size:,} of {told_bytes(torn):,} bytes are there; copy it again"
    assert said == f"the video is cut off after {count:,} frames: {told}"


def test_a_cut_video_that_lists_its_frames_at_its_end_is_told_to_be_cut_off(tmp_path: Path) -> None:
    torn = cut(film(tmp_path / "a.mp4"), 0.6)
    with pytest.raises(SourceError, match=r"is cut off, and no frame of it can be read: [\d,]+ of [\d,]+ bytes"):
        read(torn)


def test_a_cut_video_in_fragments_ends_with_an_error(tmp_path: Path) -> None:
    file = film(tmp_path / "a.mp4", *FRAGMENTS)
    assert read(file) == (100, "")
    assert read(cut(file, 0.6))[1].startswith("the video is cut off after")


def test_frames_that_an_edit_leaves_out_are_not_missed(tmp_path: Path) -> None:
    ffmpeg("-ss", 1.5, "-i", film(tmp_path / "a.mp4"), "-c", "copy", tmp_path / "edited.mp4")
    count, said = read(tmp_path / "edited.mp4")
    assert 50 < count < 100
    assert said == ""


def test_a_recording_whose_end_was_never_told_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    file = film(tmp_path / "a.mkv", "-live", "1")
    assert read(file) == (100, "")
    assert read(cut(file, 0.5))[1] == ""


STREAMS = {
    "a.mjpeg": (["-c:v", "mjpeg"], "its last picture has no end"),
    "a.ts": (["-c:v", "libx264", "-preset", "ultrafast"], r"its last packet has \d+ of 188 bytes"),
    "b.ts": (["-c:v", "libx264", "-bf", "3", "-f", "mpegts", "-mpegts_m2ts_mode", "1"], r"has \d+ of 192 bytes"),
    "a.mpg": (["-c:v", "mpeg2video"], r"its last packet has [\d,]+ of [\d,]+ bytes"),
    "a.avi": (["-c:v", "mjpeg"], r"[\d,]+ of [\d,]+ bytes are there"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_cut_stream_is_told_and_nothing_is_answered_of_a_half_frame(name: str, tmp_path: Path) -> None:
    codec, lacks = STREAMS[name]
    ffmpeg(*PICTURES, "-pix_fmt", "yuvj420p" if "mjpeg" in codec else "yuv420p", *codec, tmp_path / name)
    whole = [item.image for item in Video(str(tmp_path / name)) if isinstance(item, Frame)]
    assert len(whole) == 100
    for share in (0.3571, 0.5123, 0.6537):  # of no whole number of packets
        *frames, end = Video(str(cut(tmp_path / name, share)))
        assert isinstance(end, Unreadable)
        assert re.fullmatch(f"the video is cut off after {len(frames)} frames: .*{lacks}; copy it again", end.reason)
        assert end.index == len(frames) > 10
        for frame, right in zip(frames, whole, strict=False):
            assert isinstance(frame, Frame)
            assert np.array_equal(frame.image, right)


def test_a_stream_of_jpegs_may_have_text_behind_its_last_picture(tmp_path: Path) -> None:
    ffmpeg(*PICTURES, "-c:v", "mjpeg", file := tmp_path / "a.mjpeg")
    file.write_bytes(file.read_bytes() + b"\r\n--boundary--\r\n")
    assert read(file) == (100, "")


def test_a_video_out_of_a_pipe_ends_where_its_writer_does(tmp_path: Path) -> None:
    file = film(tmp_path / "a.ts")
    os.mkfifo(pipe := tmp_path / "b.ts")
    with subprocess.Popen(["cp", file, pipe]):
        assert read(pipe) == (100, "")


def test_a_run_on_a_cut_video_fails(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    torn = cut(film(tmp_path / "a.mp4", *FAST), 0.5)
    assert main(["infer", "--source", str(torn), "--model", str(tiny_bundle()), "--json"]) == 1
    out, err = capfd.readouterr()
    assert "the video is cut off after" in out.splitlines()[-1]
    assert "1 not answered" in err
