"""What the audit finds, and what the command says of it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main
from kdlight_edge.golden import golden_picture
from kdlight_train import duplicates
from kdlight_train.audit import audit
from kdlight_train.data import open_data
from kdlight_train.duplicates import clusters, near_pairs, thumbnail

Make = Callable[..., Path]
Spoil = Callable[[Path], None]

PARTS = {f"{part}/{label}": 6 for part in ("train", "val", "test") for label in ("a", "b")}


@pytest.fixture
def clean(make: Make, tmp_path: Path) -> Path:
    """Give a folder with three parts, two classes and nothing wrong."""
    return make(tmp_path / "data", PARTS)


def copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def test_clean_data_have_no_problem(clean: Path) -> None:
    found = audit(open_data([clean]))
    assert found.serious() == ()
    assert (found.exact, found.near, found.unreadable, found.shared_groups) == ((), (), (), ())
    assert found.counts["train"] == {"a": 6, "b": 6}
    assert found.smallest == found.largest == (24, 20)


def test_the_imbalance_and_the_sizes_are_told(make: Make, tmp_path: Path) -> None:
    make(tmp_path, {"train/common": 24, "train/rare": 2, "val/common": 1, "val/rare": 1})
    assert cv2.imwrite(str(tmp_path / "train" / "common" / "large.png"), golden_picture(1))
    found = audit(open_data([tmp_path]))
    assert found.imbalance == pytest.approx(12.5)
    assert found.largest == (256, 192)
    text = "\n".join(found.lines())
    assert "common : rare = 12.5 : 1 in train - rare classes are learnt badly" in text
    assert "24x20 to 256x192" in text


def test_classes_of_equal_size_are_told_as_equal(clean: Path) -> None:
    assert "balance    all classes equal in train" in audit(open_data([clean])).lines()


def test_pictures_under_32_pixels_are_named(clean: Path) -> None:
    assert cv2.imwrite(str(clean / "train" / "a" / "large.png"), golden_picture(1))
    found = audit(open_data([clean]))
    assert len(found.tiny) == 36
    assert not any("large" in name for name in found.tiny)


def test_an_identical_picture_in_two_splits_is_a_problem(clean: Path) -> None:
    copy(clean / "train" / "a" / "000.png", clean / "test" / "a" / "copy.png")
    found = audit(open_data([clean]))
    assert [(cluster.across, cluster.conflict) for cluster in found.exact] == [(True, False)]
    assert found.shared_groups == ()  # told once
    (problem,) = found.serious()
    assert "data/train/a/000.png (train, a) = data/test/a/copy.png (test, a)" in problem
    assert "delete the training copy" in problem


def test_an_identical_picture_in_two_classes_is_a_problem(clean: Path) -> None:
    copy(clean / "train" / "a" / "000.png", clean / "train" / "b" / "copy.png")
    found = audit(open_data([clean]))
    (problem,) = found.serious()
    assert problem.startswith("1 picture under more than one class: data/train/a/000.png (train, a) = ")


def test_an_identical_picture_twice_in_one_class_of_one_split_is_told_only(clean: Path) -> None:
    copy(clean / "train" / "a" / "000.png", clean / "train" / "a" / "copy.png")
    found = audit(open_data([clean]))
    assert found.serious() == ()
    assert [(cluster.across, cluster.conflict) for cluster in found.exact] == [(False, False)]
    assert found.near == ()


def test_a_smaller_recompressed_copy_is_found_across_splits(clean: Path) -> None:
    picture = golden_picture(7)
    small = cv2.resize(picture, (120, 90), interpolation=cv2.INTER_AREA)
    assert cv2.imwrite(str(clean / "train" / "a" / "original.png"), picture)
    assert cv2.imwrite(str(clean / "test" / "b" / "copy.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert cv2.imwrite(str(clean / "test" / "b" / "other.png"), golden_picture(8))
    found = audit(open_data([clean]))
    (cluster,) = found.near
    assert [member.name for member in cluster.members] == ["data/train/a/original.png", "data/test/b/copy.jpg"]
    assert cluster.across
    assert cluster.conflict
    assert "1 cluster of near-duplicates, 1 across splits, 1 of several classes" in "\n".join(found.lines())


def test_what_does_not_open_and_what_does_not_decode_are_both_unreadable(clean: Path, spoil: Spoil) -> None:
    (clean / "train" / "a" / "empty.png").write_bytes(b"")
    spoil(clean / "train" / "a" / "001.png")
    found = audit(open_data([clean]))
    assert [bad.name for bad in found.unreadable] == ["data/train/a/empty.png", "data/train/a/001.png"]
    (problem,) = found.serious()
    assert problem.startswith("2 unreadable files: data/train/a/empty.png: empty file (0 bytes), ")
    assert problem.endswith("replace or delete them")


def test_a_group_that_came_in_two_splits_is_told(clean: Path, table: Make) -> None:
    table(clean / "train_sources.csv", [("a/000.png", "patient-7"), ("b/000.png", "patient-8")])
    table(clean / "test_sources.csv", [("a/003.png", "patient-7")])
    found = audit(open_data([clean]))
    assert [(shared.group, shared.splits) for shared in found.shared_groups] == [("data:patient-7", ("train", "test"))]
    assert "data:patient-7 (train + test)" in "\n".join(found.lines())


def test_near_pairs_are_those_whose_correlation_is_high(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    random = np.random.default_rng(0)
    small = np.stack([thumbnail(golden_picture(seed)) for seed in range(20)])
    noisy = [np.clip(small[i] + random.normal(0, 2, (32, 32)), 0, 255).astype(np.uint8) for i in (3, 3, 11)]
    flat = np.full((2, 32, 32), 90, np.uint8)
    every = np.concatenate([small, noisy, flat])
    correlation = np.corrcoef(every[:-2].reshape(23, -1).astype(np.float64))
    expected = np.argwhere(np.triu(correlation > duplicates.CORRELATION, k=1)).tolist()
    assert [3, 20] in expected
    assert near_pairs(every).tolist() == expected


def test_pictures_without_pattern_have_no_pairs() -> None:
    assert near_pairs(np.full((5, 32, 32), 7, np.uint8)).shape == (0, 2)
    assert near_pairs(np.empty((0, 32, 32), np.uint8)).shape == (0, 2)


def test_pairs_that_share_a_picture_become_one_cluster() -> None:
    assert clusters(np.array([[4, 9], [0, 2], [1, 9], [2, 5]])) == [[0, 2, 5], [1, 4, 9]]
    assert clusters(np.empty((0, 2), np.int64)) == []


def test_the_command_prints_a_summary_and_returns_0_on_clean_data(
    clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(clean)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(str(clean))
    assert re.search(r"^all +12 +12 +12$", text, re.MULTILINE)
    assert "PROBLEM" not in text


def test_the_command_returns_1_and_says_what_to_do_about_a_problem(
    clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clean / "train" / "a" / "empty.png").write_bytes(b"")
    assert main(["data", "check", str(clean)]) == 1
    assert "PROBLEM  1 unreadable file: data/train/a/empty.png: empty file (0 bytes)" in capsys.readouterr().out


def test_the_command_prints_one_json_object(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy(clean / "train" / "a" / "000.png", clean / "val" / "b" / "copy.png")
    assert main(["data", "check", str(clean), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["labels"] == ["a", "b"]
    assert record["counts"]["val"] == {"a": 6, "b": 7}
    assert [member["split"] for member in record["exact"][0]["members"]] == ["train", "val"]
    assert len(record["serious"]) == 2


def test_the_command_pools_folders_and_takes_a_table_for_each(
    make: Make, table: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = []
    for seed, name in enumerate(("wall", "road")):
        make(tmp_path / name, {"a": 9, "b": 9}, seed)
        rows = [(f"{label}/{index:03}.png", f"g{index // 3}") for label in "ab" for index in range(9)]
        flags += ["--groups", str(table(tmp_path / f"{name}.csv", rows))]
    assert main(["data", "check", str(tmp_path / "wall"), str(tmp_path / "road"), *flags, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert sum(sum(counts.values()) for counts in record["counts"].values()) == 36
    assert all(number % 3 == 0 for counts in record["counts"].values() for number in counts.values())


def test_bad_data_are_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("kdlight-edge: ")


def test_help_answers_where_neither_numpy_nor_opencv_is(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(map(str, (root, root / "train", root / "devices")))
    code = "from kdlight_edge.cli import main; main(['data', 'check', '--help'])"
    # -S leaves site-packages out: an environment with the standard library only.
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": path}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--group-regex" in done.stdout


def test_real_archives_show_their_known_faults(shared: Path) -> None:
    found = audit(open_data([shared / "medmnist" / "breastmnist.npz"]))
    (cluster,) = found.exact
    assert [member.name for member in cluster.members] == ["breastmnist/train/115", "breastmnist/test/76"]
    assert cluster.across
    assert cluster.conflict
    assert sum(member.split == "test" for one in found.near if one.across for member in one.members) >= 39


def test_real_brain_scans_keep_their_cleaned_test_apart(shared: Path) -> None:
    found = audit(open_data([shared / "brain_mri4"]))
    assert found.unreadable == ()
    assert found.serious() == ()
