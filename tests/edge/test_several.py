"""Several cameras, one engine: results carry their source, and a dead camera does not stop another."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdlight_edge.cli import main
from kdlight_edge.errors import SourceError, UsageError
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.plain import stamped
from kdlight_edge.sinks.annotated import camera_name
from kdlight_edge.sources import Patience
from kdlight_edge.sources.latest import Latest, Slot
from kdlight_edge.sources.several import Several, open_several

LIMIT = 20.0
A, B = "scene:crack?size=64x64&fps=50&seed=1", "scene:crack?size=64x64&fps=50&seed=2"


def picture(shade: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((2, 2, 3), shade, np.uint8)


def test_two_cameras_share_a_run_and_each_result_names_its_own(
    tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "--camera", A, "--camera", B, "--model", str(tiny_bundle()), "--frames", "30", "--json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {line["source"] for line in lines} == {A, B}
    for uri in (A, B):
        indexes = [line["index"] for line in lines if line["source"] == uri]
        assert indexes == sorted(set(indexes))


def test_each_result_of_two_cameras_has_a_copy_of_its_own_and_its_name_tells_which(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    given = [word for uri in (A, B) for word in ("--camera", f"{uri}&frames=8")]
    assert main(["infer", *given, "--model", str(tiny_bundle()), "--save", str(tmp_path / "out"), "--json"]) == 0
    results = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    told = {f"{camera_name(line['source'])}-{stamped(line['captured'], line['index'])}.jpg" for line in results}
    assert {path.name for path in (tmp_path / "out").glob("*.jpg")} == told
    assert len(told) == len(results) > 8


def test_the_name_of_a_camera_is_short_safe_and_its_own() -> None:
    uris = [
        A,
        B,
        "0",
        "1",
        "rtsp://10.0.0.7/a/b",
        "rtsp://10.0.0.7/a-b",
        f"http://x/{'y' * 300}1",
        f"http://x/{'y' * 300}2",
    ]
    names = [camera_name(uri) for uri in (*uris, "../..", "", "\udcff\n")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,60}", name) for name in names)
    assert camera_name("rtsp://10.0.0.7/live").startswith("rtsp-10-0-0-7-live-")


def test_cameras_that_are_shown_alike_have_names_of_their_own() -> None:
    uris = ["rtsp://a:1@cam/x", "rtsp://a:2@cam/x", "rtsp://cam/y?pwd=1", "rtsp://cam/y?pwd=2"]
    cameras = open_several(uris, Patience(at_start=True))
    names = [camera.name for camera in cameras.cameras]
    cameras.close()
    assert names == ["rtsp://cam/x", "rtsp://cam/x (2)", "rtsp://cam/y?pwd=...", "rtsp://cam/y?pwd=... (2)"]


def test_a_fast_camera_does_not_crowd_out_a_slow_one() -> None:
    slow_put = threading.Event()

    def fast(slot: Slot) -> None:
        while not slot.closed.wait(0.0005):
            slot.put(picture(1), Moment.now())

    def slow(slot: Slot) -> None:
        slot.put(picture(2), Moment.now())
        slow_put.set()
        slot.closed.wait(LIMIT)

    source = Several([Latest("fast", fast), Latest("slow", slow)])
    items = iter(source)
    first = next(items)
    assert slow_put.wait(LIMIT)
    assert "slow" in {first.source, *(next(items).source for _ in range(3))}
    source.close()
    assert list(items) == []


def test_a_dead_camera_is_told_and_the_other_goes_on() -> None:
    told: list[str] = []
    died = threading.Event()

    def dead(slot: Slot) -> None:
        del slot
        raise SourceError("left stayed away")

    def alive(slot: Slot) -> None:
        died.wait(LIMIT)
        for shade in range(3):
            slot.put(picture(shade), Moment.now())

    def report(line: str) -> None:
        told.append(line)
        died.set()

    items = list(Several([Latest("left", dead), Latest("right", alive)], report))
    assert {item.source for item in items} == {"right"}
    assert isinstance(items[-1], Frame)
    assert items[-1].index == 2
    assert told == ["left stayed away; the other cameras go on"]


def test_when_all_are_dead_the_run_ends_with_an_error() -> None:
    def dead(slot: Slot) -> None:
        raise SourceError(f"{slot.source} stayed away")

    with pytest.raises(SourceError, match="stayed away"):
        list(Several([Latest("left", dead), Latest("right", dead)], lambda _: None))


@pytest.mark.parametrize(
    ("uris", "said"), [([A, A], "given twice"), ([A, "."], "is no camera"), (2 * ["rtsp://a:s3cret@cam"], "twice")]
)
def test_what_cannot_share_a_run_is_refused(uris: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    uris = [str(tmp_path) if uri == "." else uri for uri in uris]
    with pytest.raises(UsageError, match=said) as refused:
        open_several(uris, Patience())
    assert "s3cret" not in str(refused.value)
