"""The report: what it says, that it needs nothing else, and that it bears what is missing."""

import base64
import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kdlight_edge.errors import KDLightError
from kdlight_edge.golden import golden_picture
from kdlight_edge.metrics import figures
from kdlight_train.calibrate import Acceptance
from kdlight_train.report import Mistake, ModelResult, Report, worst_mistakes, write_report
from kdlight_train.report_html import page
from kdlight_train.report_numbers import count, duration, percent, points, signed, size
from kdlight_train.report_pictures import overlay
from kdlight_train.svg import curve, ticks

LABELS = ("crack", "no_crack")
VOID = {"meta", "img", "br"}


class Tags(HTMLParser):
    """Checks that every tag is closed in order, and gathers the attributes that could reach outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.kinds: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take one opening tag."""
        self.kinds.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Take one closing tag."""
        if tag in {"line", "circle", "polyline"} or tag not in VOID:
            assert self.open.pop() == tag


def judged(right: int, n: int) -> dict[str, Any]:
    truth = np.arange(n) % 2
    answers = np.where(np.arange(n) < right, truth, 1 - truth)
    return figures(np.eye(2)[answers] * 0.8 + 0.1, truth, LABELS)


def model(name: str, parameters: int, right: int) -> ModelResult:
    return ModelResult(
        name, parameters, 70 * parameters, 4 * parameters, 1.5, 0.081, 0.023, judged(right, 100), judged(right, 200)
    )


@pytest.fixture
def report() -> Report:
    """Give a whole report."""
    mistake = Mistake(golden_picture(1), "crack", "no_crack", 0.987, np.eye(4, dtype=np.float32), "wall/7.png")
    return Report(
        name="surface",
        made="2026-11-20T10:11:12.345678+00:00",
        labels=LABELS,
        data={"counts": {"train": {"crack": 60, "no_crack": 40}}, "fingerprint": "f" * 64, "audit": {}},
        recipe={"epochs": 3, "loss": {"method": "dist", "weight": 0.9}, "path": Path("recipes/surface.toml")},
        history=[
            {"epoch": epoch, "loss": 1 / epoch, "lr": 1e-3, "val_accuracy": 0.5 + epoch / 10, "images_per_second": 90.0}
            for epoch in (1, 2, 3)
        ],
        student=model("small", 293_412, 188),
        teacher=model("mobilenet_v2", 2_226_434, 194),
        mistakes=(mistake,),
        environment={"python": "3.11", "threads": 2},
        seconds=754.0,
        difference={"test": {"accuracy": -0.03, "ci95": [-0.062, 0.0041], "gained": 4, "lost": 10}},
        acceptance=Acceptance(0.0, 100, 100, 8, 0.141, proved=False),
    )


def tags(html: str) -> Tags:
    parser = Tags()
    parser.feed(html)
    parser.close()
    return parser


def test_both_files_are_written_and_nothing_else(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path, report)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["schema"] == "kdlight-edge/report/1"
    assert record["student"]["test"]["accuracy"] == pytest.approx(188 / 200)
    assert record["mistakes"] == [
        {"name": "wall/7.png", "truth": "crack", "predicted": "no_crack", "probability": 0.987}
    ]
    assert record["recipe"]["path"] == "recipes/surface.toml"
    assert record["acceptance"] == {
        "threshold": 0.0, "pictures": 100, "accepted": 100, "wrong": 8, "bound": 0.141, "proved": False,
    }  # fmt: skip


def test_the_page_needs_nothing_else(report: Report) -> None:
    html = page(report)
    parser = tags(html)
    assert parser.open == []
    assert all(link.startswith("data:image/png;base64,") for link in parser.links)
    assert not parser.kinds & {"script", "link", "iframe", "object", "base", "form"}
    assert not re.search(r"https?:|@import|url\(", html)


def test_the_page_says_what_was_measured(report: Report) -> None:
    text = re.sub(r"<[^>]+>", " ", page(report)).replace("\N{NO-BREAK SPACE}", " ")
    text = re.sub(r"\s+", " ", text)
    assert "Accuracy, 200 test pictures 94.0 % 95 % interval 89.8 to 96.5 %" in text
    assert "Accuracy, test 97.0 % 93.6 to 98.6 % 94.0 % 89.8 to 96.5 % &minus;3.0 points &minus;6.2 to +0.4" in text
    assert "Calibration error before temperature 0.081 0.081" in text
    assert "Parameters 2.23 M 293 k 7.6 times less" in text
    assert "Size in fp32 8.91 MB 1.17 MB" in text
    assert "crack taken for no_crack at 98.7 % wall/7.png" in text
    assert "loss · method dist" in text
    assert "training time 13 min" in text
    assert "every answer is accepted (100 of 100 validation pictures, 8 of them wrong): at most 14.1% of such" in text
    assert "3 epochs of the student, 90 pictures a second (median)." in text


def test_sensitivity_and_specificity_stand_with_their_intervals(report: Report) -> None:
    # The last 12 of 200 are wrong, six of each class.
    text = re.sub(r"<[^>]+>", " ", page(report)).replace("\N{NO-BREAK SPACE}", " ")
    row = re.search(r"no_crack\s+100\s+94\.0 %\s+87\.5 to 97\.2 %\s+94\.0 %\s+87\.5 to 97\.2 %", text)
    assert row is not None


def test_names_from_outside_cannot_change_the_page(report: Report) -> None:
    evil = "<script>alert(1)</script>&\"'"
    labels = (evil, "no_crack")
    shown = judged(5, 8)
    shown["per_class"] = dict(zip(labels, shown["per_class"].values(), strict=True))
    student = dataclasses.replace(report.student, name=evil, val=shown, test=shown)
    mistake = dataclasses.replace(report.mistakes[0], truth=evil, name=evil)
    html = page(
        dataclasses.replace(
            report, name=evil, labels=labels, student=student, teacher=student, mistakes=(mistake,),
            recipe={evil: evil}, environment={evil: [evil]},
            data={"counts": {evil: {evil: 3}}, "audit": {"serious": [evil], "notes": [evil]}},
        )
    )  # fmt: skip
    assert "script" not in tags(html).kinds
    assert tags(html).open == []


def test_the_pictures_in_the_page_are_the_pictures(report: Report) -> None:
    shown = []
    for link in tags(page(report)).links:
        content = np.frombuffer(base64.b64decode(link.split(",")[1]), np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
        assert image is not None
        shown.append(image)
    plain, mapped = shown
    assert np.array_equal(plain, golden_picture(1))
    assert mapped.shape == plain.shape
    assert not np.array_equal(mapped, plain)


def test_a_report_without_teacher_and_test_quotes_validation(report: Report) -> None:
    student = dataclasses.replace(report.student, test=None)
    html = page(dataclasses.replace(report, teacher=None, student=student))
    assert "Accuracy, 100 validation pictures" in html
    assert "Teacher" not in html
    assert "Calibration error before temperature" in html
    assert tags(html).open == []


def test_a_training_without_mistakes_and_epochs_says_so(report: Report) -> None:
    html = page(dataclasses.replace(report, mistakes=(), history=[]))
    assert "None: every one of the 200 pictures was answered rightly." in html
    assert "No epoch was recorded." in html


def test_epochs_without_a_value_are_left_out_of_the_curve(report: Report, tmp_path: Path) -> None:
    history: list[dict[str, Any]] = [{"epoch": 1, "loss": math.nan}, {"epoch": 2, "loss": 0.5, "val_accuracy": None}]
    changed = dataclasses.replace(report, history=history)
    html = page(changed)
    assert "Training loss" in html
    assert "Validation accuracy" not in html
    assert not re.search(r'"[^"]*\bnan\b', " ".join(re.findall(r"<svg.*?</svg>", html)))
    write_report(tmp_path, changed)
    assert json.loads((tmp_path / "report.json").read_text())["history"][0] == {"epoch": 1, "loss": None}


def test_a_report_that_cannot_be_written_is_one_line_and_leaves_no_draft(report: Report, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(KDLightError, match=r"report\.html cannot be written: Is a directory; make room") as raised:
        write_report(tmp_path, report)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_the_surest_wrong_answers_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.95, 0.05], [0.6, 0.4]])
    truth = np.array([1, 0, 1, 1, 0])
    images = np.stack([np.full((4, 4, 3), index, np.uint8) for index in range(5)])
    cams = np.arange(5 * 2 * 4, dtype=np.float32).reshape(5, 2, 2, 2)
    found = worst_mistakes(probabilities, truth, images, LABELS, 2, cams=cams, names="vwxyz")
    assert [(one.name, one.truth, one.predicted, one.probability) for one in found] == [
        ("y", "no_crack", "crack", 0.95),
        ("v", "no_crack", "crack", 0.9),
    ]
    assert found[0].image[0, 0, 0] == 3
    assert found[0].cam is not None
    assert np.array_equal(found[0].cam, cams[3, 0])
    assert len(worst_mistakes(probabilities, truth, images, LABELS)) == 3


def test_a_map_without_contrast_leaves_the_picture_as_it_is() -> None:
    picture = golden_picture(2)
    assert np.array_equal(overlay(picture, np.full((4, 4), 3.0)), picture)
    assert np.array_equal(overlay(picture, np.full((4, 4), np.nan)), picture)


def test_the_map_is_brightest_where_it_is_highest() -> None:
    cam = np.zeros((4, 4), np.float32)
    cam[3, 0] = 5
    shown = overlay(np.full((64, 64, 3), 50, np.uint8), cam).astype(int).sum(axis=2)
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    assert row >= 48
    assert column < 16


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.91, 0.953), (2.37, 2.37), (0.0, 0.0), (-3.0, 1200.0)])
def test_ticks_are_round_rise_evenly_and_cover_the_range(low: float, high: float) -> None:
    found = ticks(low, high)
    steps = np.diff(found)
    assert 2 <= len(found) <= 8
    assert found[0] <= low
    assert found[-1] >= high
    assert np.allclose(steps, steps[0])
    mantissa = float(f"{steps[0]:e}".split("e")[0])
    assert min(abs(mantissa - good) for good in (1, 2, 2.5, 5)) < 1e-6


def test_one_epoch_is_a_curve_too() -> None:
    drawn = curve("loss", [(1.0, 0.4)], str)
    assert drawn.count("<circle") == 1
    assert "nan" not in drawn


def test_figures_are_written_for_people() -> None:
    def plain(text: str) -> str:
        return text.replace("\N{NO-BREAK SPACE}", " ")

    assert [plain(count(n)) for n in (880, 293_412, 21_800_000, 4e9)] == ["880", "293 k", "21.8 M", "4 G"]
    assert [plain(size(n)) for n in (450_000, 1_173_648)] == ["450 kB", "1.17 MB"]
    assert [duration(seconds) for seconds in (42, 754, 12_000)] == ["42 s", "13 min", "3 h 20 min"]
    assert [plain(percent(0.9412)), percent(None)] == ["94.1 %", "&ndash;"]
    assert [signed(-0.0002, ".3f"), signed(0.01, ".3f"), signed(-0.01, ".3f")] == ["0.000", "+0.010", "&minus;0.010"]
    assert [points(0.9, 0.95), points(None, 0.95)] == ["&minus;5.0 points", ""]
