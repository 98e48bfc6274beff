"""What ``kdlight-edge infer`` refuses before it classifies anything: one line, and its exit code."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--folder", "nowhere", "--model", "MODEL"], 6, "nowhere cannot be read"),
        (["--camera", "99", "--model", "MODEL"], 6, "no camera at /dev/video99"),
        (["--source", "ftp://cam/0", "--model", "MODEL"], 2, "no source looks like"),
        (["--camera", "scene:crack?frames=2", "--model", "none.kdl"], 5, "no bundle at none.kdl"),
        (["--folder", ".", "--model", "MODEL", "--conf", "7"], 2, "--conf 7"),
        (["--folder", ".", "--model", "MODEL", "--topk", "0"], 2, "--topk 0"),
        (["--folder", ".", "--model", "MODEL", "--engine", "abacus"], 2, "--engine abacus"),
        (["--folder", ".", "--model", "MODEL", "--csv", "no/such/x.csv"], 1, "no/such/x.csv cannot be written"),
        (["--folder", ".", "--model", "MODEL", "--sheet", "x.gif"], 2, "x.gif: a contact sheet is"),
        (["--folder", ".", "--model", "MODEL", "--sheet", "no/such/x.png"], 1, "no/such/x.png cannot be written"),
        (["--folder", ".", "--model", "MODEL", "--sheet", "crack"], 1, "crack cannot be written: Is a directory"),
        (["--folder", "", "--model", "MODEL"], 2, "the source is empty"),
        (["--folder", "."], 2, "--model is missing"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_its_exit_code(
    arguments: list[str], code: int, said: str, pictures: Path, tiny_bundle: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    model = str(tiny_bundle())
    monkeypatch.chdir(pictures)
    assert main(["infer", *(model if word == "MODEL" else word for word in arguments)]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "flag",
    [
        "audit", "csv", "dicom-out", "dicom-to", "event-dir", "json-file", "metrics", "mqtt", "mqtt-store", "rotate",
        "save", "save-video", "sheet", "state", "web", "webhook",
    ],
)  # fmt: skip
def test_an_empty_value_is_refused_on_the_command_line_and_in_a_file(
    flag: str, tmp_path: Path, pictures: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "site.toml").write_text(f'{flag} = ""\n')
    run = ["infer", "--folder", str(pictures), "--model", str(tiny_bundle())]
    for more in ([f"--{flag}", ""], [f"--{flag}="], ["--config", str(tmp_path / "site.toml")]):
        assert main([*run, *more]) == 2, more
        out, err = capfd.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert f"--{flag} is empty" in err


@pytest.mark.parametrize(
    "flags",
    [
        ["--quality"], ["--max-age", "0.5"], ["--max-fps", "5"], ["--governor", "off"], ["--stall-timeout", "1"],
        ["--freeze-timeout", "1"], ["--retries", "0"], ["--vote", "2"],
    ],
)  # fmt: skip
def test_a_flag_of_cameras_is_refused_for_a_folder_a_file_and_a_watched_folder(
    flags: list[str], pictures: Path, tmp_path: Path, tiny_bundle: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    for source in (["--folder", str(pictures)], ["--source", str(clip)], ["--source", f"watch:{pictures}"]):
        assert main(["infer", *source, "--model", str(tiny_bundle()), "--frames", "1", *flags]) == 2
        out, err = capfd.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert f"{flags[0]} says nothing without a camera; leave it out" in err


def test_flags_that_say_nothing_are_named_all_at_once_and_what_holds_anyhow_is_not(
    pictures: Path, tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    run = ["infer", "--folder", str(pictures), "--model", str(tiny_bundle()), "--frames", "1"]
    site = tmp_path / "site.toml"
    assert main([*run, "--print-config"]) == 0
    site.write_text(capfd.readouterr().out)
    assert main(["infer", "--config", str(site)]) == 0
    capfd.readouterr()
    site.write_text((ROOT / "devices/setup/site.toml").read_text().replace("/var/lib/kdlight-edge", str(tmp_path)))
    run += ["--config", str(site), "--no-metrics"]
    assert main(run) == 2
    remedy = "--no-max-age --no-await-camera"
    said = f"--max-age, --await-camera say nothing without a camera; leave them out (what --config says, by {remedy})"
    assert said in capfd.readouterr().err
    assert main([*run, *remedy.split()]) == 0
    # The service's unit waits for a camera whatever its source is.
    assert main(["infer", "--source", str(pictures), "--model", str(tiny_bundle()), "--await-camera"]) == 0


@pytest.mark.parametrize("source", ["pictures", "pictures/crack/0.png", "scene:crack?frames=2"])
def test_answers_to_scans_are_refused_where_there_are_none(
    source: str, pictures: Path, tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    uri = source.replace("pictures", str(pictures))
    for flag, value in (("--dicom-out", str(tmp_path / "out")), ("--dicom-to", "ARCHIVE@127.0.0.1:104")):
        assert main(["infer", "--source", uri, "--model", str(tiny_bundle()), flag, value]) == 2
        out, err = capfd.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert f"{flag} says nothing without scans; leave it out" in err
    assert not (tmp_path / "out").exists()


def test_a_missing_model_names_those_that_are_there(
    tmp_path: Path, pictures: Path, tiny_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "models").mkdir()
    tiny_bundle(folder=tmp_path / "models", name="walls")
    monkeypatch.chdir(tmp_path)
    assert main(["infer", "--folder", str(pictures)]) == 2
    assert "there are models/walls.kdl" in capfd.readouterr().err
