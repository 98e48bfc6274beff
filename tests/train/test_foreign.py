"""An outlier output that was shown pictures of other things."""

import dataclasses
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main
from kdlight_edge.errors import DataError, UsageError
from kdlight_edge.manifest import Input
from kdlight_train import finished
from kdlight_train.calibrate import fit_outlier
from kdlight_train.folders import check_foreign
from kdlight_train.foreign import COUNT, GENERATED, _files, digest_of, part_from, read_foreign
from kdlight_train.patterns import EACH, patterns

SPEC = Input(32, 32, "rgb", "squash", "reduce")


def folder(path: Path, count: int) -> Path:
    """Fill a folder with pictures of one colour each."""
    path.mkdir(parents=True)
    for number in range(count):
        assert cv2.imwrite(str(path / f"{number:04d}.png"), np.full((8, 8, 3), number % 250, np.uint8))
    return path


def test_things_close_to_home_become_outliers_when_they_were_shown() -> None:
    random = np.random.default_rng(0)
    home = random.normal(0, 1, (800, 24)).astype(np.float32)
    # Foreign features lie inside the cloud in most directions: the distance alone does not see them.
    away = random.normal(0, 1, (400, 24)).astype(np.float32) + np.eye(24, dtype=np.float32)[3] * 4
    model = fit_outlier(home[:400], np.zeros(400, np.int64), 1)
    limit = np.quantile(model.distance(home[400:]), 0.99)
    assert (model.distance(away[200:]) > limit).mean() < 0.5
    shown = part_from(model, home[:400], [away[:200]])
    assert (shown.distance(away[200:]) > np.quantile(shown.distance(home[400:]), 0.99)).mean() > 0.9
    far = np.full((1, 24), -9, np.float32)  # neither home nor what was shown
    assert shown.distance(far)[0] >= model.distance(far)[0] > limit
    assert np.all(shown.distance(home) >= model.distance(home) * (1 - 1e-6))


def test_each_kind_of_things_has_a_direction_of_its_own() -> None:
    random = np.random.default_rng(0)
    home = random.normal(0, 1, (800, 24)).astype(np.float32)
    step = np.eye(24, dtype=np.float32)[3] * 4
    kinds = [random.normal(0, 1, (400, 24)).astype(np.float32) + side * step for side in (1, -1)]
    model = fit_outlier(home[:400], np.zeros(400, np.int64), 1)
    # No one plane parts from home what lies on both sides of it.
    for groups, seen in (
        ([np.concatenate([kind[:200] for kind in kinds])], 0.5),
        ([kind[:200] for kind in kinds], 0.9),
    ):
        shown = part_from(model, home[:400], groups)
        limit = np.quantile(shown.distance(home[400:]), 0.99)
        share = np.mean([(shown.distance(kind[200:]) > limit).mean() for kind in kinds])
        assert (share > seen) == (len(groups) == 2), (len(groups), share)


def test_generated_pictures_are_the_same_for_the_same_seed_and_differ_in_every_kind() -> None:
    once, again, others = patterns(SPEC), patterns(SPEC), patterns(SPEC, seed=1)
    assert list(once) == ["static", "bars", "letters", "torn"]
    for kind, images in once.items():
        assert images.shape == (EACH, 32, 32, 3)
        np.testing.assert_array_equal(images, again[kind])
        assert len({image.tobytes() for image in images} | {image.tobytes() for image in others[kind]}) == 2 * EACH
        assert images.reshape(EACH, -1).std(axis=1).min() > 0  # none is blank
    grey = patterns(Input(48, 32, "grey", "fit", "reduce"))["bars"]
    assert grey.shape == (EACH, 32, 48, 3)
    assert np.ptp(grey, axis=3).max() == 0


def test_generated_pictures_do_not_tell_trainings_apart() -> None:
    read, drawn = np.zeros((2, 4, 4, 3), np.uint8), np.ones((2, 4, 4, 3), np.uint8)
    assert digest_of({f"bars{GENERATED}": drawn}) is None
    assert (
        digest_of({"wall": read, f"bars{GENERATED}": drawn}) == digest_of({"wall": read}) != digest_of({"wall": drawn})
    )


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (folder(tmp_path / "set", 4) / "0002.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    said: list[str] = []
    assert len(read_foreign([tmp_path / "set"], SPEC, said.append)["set"]) == 3
    assert len(said) == 1
    assert said[0].startswith(f"left out, unreadable: {tmp_path / 'set' / '0002.png'}: ")


def test_of_a_folder_with_a_test_part_only_the_training_part_is_seen(tmp_path: Path) -> None:
    folder(tmp_path / "set" / "train" / "a", 5)
    folder(tmp_path / "set" / "test" / "a", 9)
    assert len(read_foreign([tmp_path / "set"], SPEC, lambda _line: None)["set"]) == 5


def test_a_training_part_of_another_name_is_one_too_and_links_are_followed(tmp_path: Path) -> None:
    folder(tmp_path / "set" / "Training", 3)
    folder(tmp_path / "set" / "Testing", 4)
    folder(tmp_path / "elsewhere", 2)
    (tmp_path / "set" / "Training" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "Training" / "more" / "._0000.png").write_bytes(b"of a Mac")
    told: list[str] = []
    assert len(read_foreign([tmp_path / "set"], SPEC, told.append)["set"]) == 5
    assert told == []


def test_two_folders_of_one_name_are_seen_both(tmp_path: Path) -> None:
    both = [folder(tmp_path / "a" / "set", 5), folder(tmp_path / "b" / "set", 4)]
    assert len(read_foreign(both, SPEC, lambda _line: None)["set"]) == 9


def test_large_folders_are_seen_evenly(tmp_path: Path) -> None:
    seen = read_foreign([folder(tmp_path / "many", 2 * COUNT)], SPEC, lambda _line: None)["many"]
    assert seen.shape == (COUNT, 32, 32, 3)
    assert seen[-1, 0, 0, 0] == (2 * COUNT - 2) % 250


def test_of_a_folder_a_little_too_large_the_end_is_seen_like_the_beginning(tmp_path: Path) -> None:
    for name, count in (("a_wall", 300), ("b_floor", 150), ("c_road", 149)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number:04d}.png").touch()
    seen = Counter(file.parent.name for file in _files(tmp_path))
    assert sum(seen.values()) == COUNT
    assert all(abs(seen[name] - count) <= 1 for name, count in (("a_wall", 150), ("b_floor", 75), ("c_road", 75)))


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_folder_without_pictures_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=str(tmp_path)):
        read_foreign([tmp_path], SPEC, lambda _line: None)


def test_a_training_shown_other_things_keeps_what_it_learnt_of_them(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for label, bright in (("dark", 60), ("light", 190)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(16):
            picture = (bright + random.normal(0, 12, (40, 40, 3))).clip(0, 255).astype(np.uint8)
            assert cv2.imwrite(str(tmp_path / "data" / label / f"{number}.png"), picture)
    foreign, run = folder(tmp_path / "plain", 12), tmp_path / "run"
    words = [
        "train", "--data", str(tmp_path / "data"), "--out", str(run), "--foreign", str(foreign), "--method", "none",
        "--student", "nano", "--imgsz", "32", "--teacher-imgsz", "32", "--epochs", "1", "--teacher-epochs", "1",
        "--teacher-weights", str(random_teacher(tmp_path)), "--cache", str(tmp_path / "cache"),
    ]  # fmt: skip
    assert main(words) == 0
    student = finished.load(run)
    told = student.provenance["data"]["foreign"]
    assert told.pop("plain") == 12
    assert told == {f"{kind} (generated)": EACH for kind in ("static", "bars", "letters", "torn")}
    assert student.outlier.planes is not None
    assert student.outlier.planes.shape == (5, len(student.outlier.mean))
    without = dataclasses.replace(student.outlier, planes=None)
    features = np.zeros((4, len(student.outlier.mean)), np.float32)
    assert np.all(student.outlier.distance(features) >= without.distance(features))


def random_teacher(where: Path) -> Path:
    """Write a teacher's weights as they are before any training."""
    import torch
    import torchvision

    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), where / "teacher.pth")
    return where / "teacher.pth"


def test_a_folder_of_other_things_that_holds_the_students_own_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("data/train/a", "data/train/b", "data/other", "set/train", "set/test/a", "set/test/b"):
        folder(tmp_path / name, 5)
    data = tmp_path / "data"
    (tmp_path / "link").symlink_to(data)
    for own in (data, tmp_path / "link", data / "train" / "a", tmp_path):
        with pytest.raises(
            UsageError, match=f"--foreign {own} holds pictures of --data {data}; give other things only"
        ):
            check_foreign([data, tmp_path / "set" / "test"], [data / "other", own])
    check_foreign([tmp_path / "set" / "test", data], [data / "other", tmp_path / "set"])
    words = ["--data", str(data), "--foreign", str(data), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main(["train", *words]) == 2
    assert f"--foreign {data} holds pictures" in capsys.readouterr().err
