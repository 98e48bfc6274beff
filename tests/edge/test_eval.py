"""A bundle is judged on labelled folders by the runtime's own code, and nothing that is wrong with them goes unsaid."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kdlight_edge.bundle import open_bundle, write_bundle
from kdlight_edge.cli import main
from kdlight_edge.errors import DataError, UsageError
from kdlight_edge.frame import Frame
from kdlight_edge.labelled import Labelled, labels_of, read_map
from kdlight_edge.manifest import Thresholds

Make = Callable[..., Path]
RED, GREEN, DULL = (255, 20, 0), (20, 255, 0), (60, 50, 0)


def write(folder: Path, *colours: tuple[int, int, int]) -> None:
    """Write one picture of each colour (RGB) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, colour in enumerate(colours):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((20, 24, 3), colour[::-1], np.uint8))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four cracks, of which one looks like none and one is dull, and two pictures without."""
    write(tmp_path / "data/crack", RED, RED, GREEN, DULL)
    write(tmp_path / "data/no_crack", GREEN, GREEN)
    return tmp_path / "data"


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    """Run ``eval --json`` and return its object."""
    assert main(["eval", *map(str, arguments), "--json"]) == code
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def test_the_figures_are_those_of_the_pictures(
    tiny_bundle: Make, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = evaluated(capsys, tiny_bundle(), "--data", data)
    assert (record["n"], record["accuracy"]) == (6, 5 / 6)
    assert record["confusion"] == [[3, 1], [0, 2]]
    assert record["per_class"]["crack"]["sensitivity"] == 0.75
    assert record["balanced_accuracy"] == (0.75 + 1) / 2
    assert record["ci95"][0] < 5 / 6 < record["ci95"][1]
    assert {"macro_f1", "auc", "ece"} <= record.keys()
    assert (record["engine"], record["precision"]) == ("onnxruntime", "fp32")
    assert (record["bundle"]["name"], len(record["bundle"]["digest"])) == ("tiny", 64)
    assert record["images_per_second"] > 0
    assert record["classes"] == {"crack": {"label": "crack", "n": 4}, "no_crack": {"label": "no_crack", "n": 2}}


@pytest.mark.parametrize("read", ["crack/0.png", "manifest.json", "names.csv"])
def test_predictions_are_not_written_over_what_is_to_be_read(
    tiny_bundle: Make, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], read: str
) -> None:
    bundle, names, out = tiny_bundle(), tmp_path / "names.csv", tmp_path / "out.jsonl"
    names.write_text("from,to\ncrack,crack\n", encoding="utf-8")
    file = next(folder / read for folder in (data, bundle, tmp_path) if (folder / read).exists())
    before = file.read_bytes()
    out.symlink_to(file)
    assert main(["eval", str(bundle), "--data", str(data), "--map", str(names), "--predictions", str(out)]) == 2
    assert f"would write over {file}, which is to be read; name another place" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_what_the_bundle_does_not_accept_is_counted_apart(
    tiny_bundle: Make, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = evaluated(capsys, tiny_bundle(accept=0.9), "--data", data)
    assert (record["accepted"], record["abstained"], record["outliers"]) == (5, 1, 0)
    assert record["coverage"] == 5 / 6
    assert record["accuracy_of_accepted"] == 4 / 5
    record = evaluated(capsys, tiny_bundle(outlier=0.1), "--data", data)
    assert (record["accepted"], record["outliers"], record["accuracy_of_accepted"]) == (0, 6, None)


def test_a_class_that_its_threshold_demands_is_counted_as_the_answer_that_infer_gives(
    tiny_bundle: Make, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = open_bundle(tiny_bundle())
    (artifact,) = bundle.manifest.artifacts
    eager = dataclasses.replace(artifact, thresholds=Thresholds(0.6, None, {"crack": 1e-12}))
    files = {artifact.file: (bundle.path / artifact.file).read_bytes()}
    write_bundle(bundle.path, dataclasses.replace(bundle.manifest, artifacts=(eager,)), files)
    record = evaluated(capfd, bundle.path, "--data", data)
    assert record["confusion"] == [[4, 0], [2, 0]]
    assert record["per_class"]["crack"]["sensitivity"] == 1.0
    assert record["accuracy"] == record["accuracy_of_accepted"] == 4 / 6
    assert main(["infer", "--folder", str(data), "--model", str(bundle.path), "--json"]) == 0
    said = capfd.readouterr()
    assert {json.loads(line)["label"] for line in said.out.splitlines()} == {"crack"}
    assert "4 of 6" in said.err


def test_one_thread_and_many_give_the_same_figures(
    tiny_bundle: Make, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle()
    one, many = (evaluated(capsys, path, "--data", data, "--threads", n) for n in (1, 3))
    del one["images_per_second"], many["images_per_second"]
    assert one == many


def test_a_map_renames_pools_and_leaves_out(
    tiny_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "data/hairline", RED)
    write(tmp_path / "data/wide", RED, RED)
    write(tmp_path / "data/intact", GREEN)
    write(tmp_path / "data/graffiti", DULL)
    (tmp_path / "map.csv").write_text("from,to\nhairline,crack\nwide,crack\n")
    record = evaluated(
        capsys, tiny_bundle(), "--data", tmp_path / "data", "--map", tmp_path / "map.csv",
        "--map", "intact=no_crack", "--map", "graffiti=-",
    )  # fmt: skip
    assert (record["n"], record["accuracy"]) == (4, 1.0)
    assert record["per_class"]["crack"]["n"] == 3
    assert record["left_out"] == ["graffiti"]
    assert record["classes"]["wide"] == {"label": "crack", "n": 2}


def test_unreadable_pictures_are_named_counted_and_end_in_exit_code_1(
    tiny_bundle: Make, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "crack/empty.jpg").write_bytes(b"")
    (data / "no_crack/text.png").write_text("no picture")
    assert main(["eval", str(tiny_bundle()), "--data", str(data), "--json"]) == 1
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert record["n"] == 6
    assert record["unreadable"]["count"] == 2
    assert record["unreadable"]["files"][0] == {
        "source": str(data / "crack/empty.jpg"), "reason": "empty file (0 bytes)",
    }  # fmt: skip
    assert f"kdlight-edge: {data}/no_crack/text.png: not a picture" in said.err


def test_predictions_are_written_with_their_truth(
    tiny_bundle: Make, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "crack/empty.jpg").write_bytes(b"")
    file = tmp_path / "predictions.jsonl"
    record = evaluated(capsys, tiny_bundle(), "--data", data, "--predictions", file, code=1)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(7))
    assert [line["truth"] for line in lines] == ["crack"] * 5 + ["no_crack"] * 2
    right = sum(line["label"] == line["truth"] for line in lines)
    assert right / record["n"] == record["accuracy"]
    assert lines[4]["decision"] == "error"


def test_the_table_is_for_people(tiny_bundle: Make, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tiny_bundle()), "--data", str(data)]) == 0
    table = capsys.readouterr().out
    assert "accuracy           0.8333   95 % interval" in table
    assert "3 crack, 1 no_crack" in table


def test_a_label_without_pictures_is_said(tiny_bundle: Make, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tiny_bundle(("crack", "no_crack", "stain"))), "--data", str(data), "--json"]) == 0
    said = capsys.readouterr()
    assert "has no pictures of the label stain" in said.err
    assert json.loads(said.out)["per_class"]["stain"]["sensitivity"] is None


@pytest.mark.parametrize(
    ("folders", "arguments", "code", "message"),
    [
        (
            ["crack", "spalling"],
            [],
            1,
            "folders spalling of {data} are no labels of the bundle, which has crack",
        ),
        (["train", "test"], [], 1, "did you mean --data {data}/test?"),
        ([], [], 1, "holds no folders; it needs one for each class, named crack, no_crack"),
        (["crack"], ["--map", "wall=crack"], 1, "--map wall=crack names no folder of {data}, which has crack"),
        (
            ["crack"],
            ["--map", "crack=line"],
            1,
            "--map crack=line names no label of the bundle, which has crack",
        ),
        (["crack"], ["--map", "crack=-"], 1, "--map leaves out every folder of {data}"),
        (["crack"], ["--map", "crack"], 2, "--map crack is neither FROM=TO nor a .csv file"),
        (["crack"], ["--map", "gone.csv"], 2, "--map gone.csv cannot be read: No such file"),
        (
            ["crack"],
            ["--map", "crack=crack", "--map", "crack=no_crack"],
            2,
            "--map gives crack both crack and",
        ),
        (["crack"], ["--threads", "-1"], 2, "--threads -1 is below 0"),
        (["crack"], ["--threads", "1000000"], 2, "--threads 1000000 is above 256"),
        (["crack", "no_crack/empty"], [], 6, "{data}/no_crack holds no pictures"),
    ],
)
def test_what_cannot_be_judged_is_one_line(
    tiny_bundle: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    folders: list[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for folder in folders:
        write(data / folder, *(() if folder.endswith("empty") else (RED,)))
    assert main(["eval", str(tiny_bundle()), "--data", str(data), *arguments]) == code
    said = capsys.readouterr()
    assert message.format(data=data) in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_folder_that_is_not_there_is_said(tiny_bundle: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tiny_bundle()), "--data", "/there/is/none"]) == 1
    assert "--data /there/is/none cannot be read: No such file" in capsys.readouterr().err


def test_pictures_that_are_all_unreadable_are_an_error(
    tiny_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data/crack").mkdir(parents=True)
    (tmp_path / "data/crack/a.jpg").write_bytes(b"")
    assert main(["eval", str(tiny_bundle()), "--data", str(tmp_path / "data")]) == 1
    assert "none of 1 pictures could be judged; the first is" in capsys.readouterr().err


def test_an_album_knows_the_truth_of_every_index(data: Path) -> None:
    album = Labelled({data: {"crack": "a", "no_crack": "b"}})
    assert len(album) == 6
    assert [album.truth(index) for index in range(6)] == ["a"] * 4 + ["b"] * 2
    items = list(album)
    assert [item.index for item in items] == list(range(6))
    assert [item.meta["truth"] for item in items] == ["a"] * 4 + ["b"] * 2
    assert isinstance(items[4], Frame)
    assert items[4].image[0, 0].tolist() == list(GREEN)


def test_a_closed_album_ends(data: Path) -> None:
    album = Labelled({data: {"crack": "a"}})
    seen = []
    for item in album:
        seen.append(item)
        album.close()
    assert len(seen) == 1


def test_hidden_folders_and_files_beside_the_classes_are_not_classes(tmp_path: Path) -> None:
    write(tmp_path / "crack", RED)
    write(tmp_path / ".thumbnails", RED)
    (tmp_path / "README.txt").write_text("notes")
    assert labels_of([tmp_path], ["crack", "no_crack"], {}) == {tmp_path: {"crack": "crack"}}


def test_a_command_without_a_map_does_not_advise_one(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    with pytest.raises(DataError, match=r"call the folders so, or judge them by kdlight-edge eval --map$"):
        labels_of([tmp_path], ["crack", "no_crack"], None)


def test_a_map_file_needs_two_fields_a_row(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text("a,b\n\nc , d\n")
    assert read_map([str(file), "e=f=g"]) == {"a": "b", "c": "d", "e": "f=g"}
    file.write_text("a,b,c\n")
    with pytest.raises(UsageError, match="has the row 'a,b,c' where two fields"):
        read_map([str(file)])


@pytest.mark.parametrize("second", ["data", "link", "data/../data"])
def test_pictures_that_would_count_twice_are_refused(
    tiny_bundle: Make, data: Path, capsys: pytest.CaptureFixture[str], second: str
) -> None:
    (data.parent / "link").symlink_to("data")
    again = f"{data.parent}/{second}"
    assert main(["eval", str(tiny_bundle()), "--data", str(data), again]) == 2
    said = f"the pictures of {again}/crack would count twice, by {data} and by {again}; give them once"
    assert said in capsys.readouterr().err


def test_a_folder_is_left_out_by_map_alone(tiny_bundle: Make, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(data / "-", RED)
    assert main(["eval", str(tiny_bundle()), "--data", str(data)]) == 1
    assert f"folders - of {data} are no labels of the bundle" in capsys.readouterr().err
    assert evaluated(capsys, tiny_bundle(), "--data", data, "--map=-=-")["left_out"] == ["-"]
