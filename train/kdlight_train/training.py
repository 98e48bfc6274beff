"""`train` as a function: audit, teacher, student, calibration, report; each part is kept as soon as it is done."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdlight_devices.fingerprint import fingerprint
from kdlight_edge.decide import softmax
from kdlight_edge.metrics import ece, figures
from kdlight_train import beside, finished
from kdlight_train.audit import audit
from kdlight_train.calibrate import (
    OUTLIER_QUANTILE,
    Acceptance,
    acceptance_of,
    fit_acceptance,
    fit_outlier,
    fit_temperature,
)
from kdlight_train.claim import LOCK, alone, busy, given_back
from kdlight_train.data import open_data
from kdlight_train.folders import check_foreign
from kdlight_train.foreign import Foreign, part_from, read_foreign, told
from kdlight_train.identity import origin_in, record_of, take
from kdlight_train.kept import CALIBRATION, HELD_OUT, keep_pictures
from kdlight_train.loss import method
from kdlight_train.place import Place
from kdlight_train.recipe import Recipe, to_json
from kdlight_train.report import PAGES, ModelResult, Report, worst_mistakes, write_report
from kdlight_train.start import load_start, seen_by
from kdlight_train.student import multiply_adds, parameters
from kdlight_train.unlabelled import digest_of_files, joined, read_unlabelled
from kdlight_train.workshop import (
    STATE,
    Say,
    Shelf,
    Taught,
    features_of,
    features_of_images,
    input_of,
    lessons_of,
    maps_of,
    teach_student,
    teach_teachers,
)


def train(
    paths: Sequence[Path],
    run: Path,
    recipe: Recipe,
    place: Place,
    say: Say,
    *,
    teacher_weights: Path | None,
    cache: Path,
    groups: Sequence[Path] = (),
    group_regex: str | None = None,
    start: Path | None = None,
    foreign: Sequence[Path] = (),
    unlabelled: Sequence[Path] = (),
    resume: bool = False,
) -> None:
    """Train a student and write RUN/student.pt, RUN/report.json and RUN/report.html.

    Args:
        paths: folders of labelled pictures.
        run: folder of this training.
        recipe: everything that decides how the student is made.
        place: device and rank.
        say: tells people, a line at a time.
        teacher_weights: ImageNet weights of the teacher, None for those that a resumed training began with, or to let
            torchvision download them.
        cache: where fine-tuned teachers are kept.
        groups: see `open_data`.
        group_regex: see `open_data`.
        start: weights that the student starts from (see `kdlight_train.start`), None for random ones.
        foreign: folders of pictures of other things, which the outlier output shall know (see `kdlight_train.foreign`).
        unlabelled: folders of pictures whose classes nobody told (see `kdlight_train.unlabelled`).
        resume: go on with what RUN holds; nothing is done where it is finished.

    Raises:
        DataError: pictures that cannot be used, a loss that is not finite, a disk that is full.
        UsageError: RUN holds another training, or a foreign folder pictures of the paths.
        KDLightError: another training is at work in RUN.
    """
    torch.manual_seed(recipe.seed)
    data = open_data(
        paths, groups=groups, group_regex=group_regex,
        val_share=recipe.val_share, test_share=recipe.test_share, seed=recipe.seed,
    )  # fmt: skip
    weights = {} if start is None else load_start(start, recipe.student.name)
    origin = None if start is None else hashlib.sha256(start.read_bytes()).hexdigest()
    if recipe.distil.method != "none":  # the teacher takes long: what cannot teach these classes is told before it
        method(recipe.distil.method, len(data.labels))
    # A folder that will not do is told at once.
    check_foreign(paths, foreign)
    others = read_foreign(foreign, input_of(recipe), say)
    made_from = origin_in(run, teacher_weights, resume=resume)
    more = digest_of_files(unlabelled)
    wanted = record_of(recipe, data, start=origin, weights=made_from, foreign=others, unlabelled=more)
    with alone(run / LOCK, place, busy(run)):
        # One process speaks for all: the others would find its claim and take it for another training.
        claim = take(run, wanted, resume=resume) if place.first else None
        if resume and place.agree(place.first and _complete(run)):
            say(f"{run} is finished: nothing is left to do")
            return
        with given_back(claim, run / STATE):
            found = audit(data)
            seen = None if start is None else seen_by(start, data.splits)
            for line in (*found.lines(), *([seen] if seen else [])):
                say(line)
            shelf = Shelf(data, recipe, place, say)
            unsorted = read_unlabelled(unlabelled, shelf, say)
            teachers = teach_teachers(shelf, teacher_weights, cache, say, made_from)
            networks = [one.network for one in teachers] if recipe.distil.method != "none" else []
            lessons = lessons_of(shelf, networks, joined(shelf.pool, unsorted))
            student = teach_student(shelf, lessons, run, weights, say)
        if not place.first:
            return
        results = {"teacher": _result(recipe.teacher.name, teachers[0], shelf, recipe.teacher.imgsz)}
        results["student"] = _result(recipe.student.name, student, shelf, recipe.input.imgsz)
        together = _together(teachers, shelf)
        gap = _gap(student, teachers[0], shelf)
        made = datetime.now(tz=timezone.utc).isoformat(timespec="seconds")
        provenance = {
            "teacher": recipe.teacher.name,
            "method": recipe.distil.method,
            "recipe": {**to_json(recipe), **({"start": origin} if origin else {})},
            "data": told({"fingerprint": data.fingerprint, "counts": data.counts()}, others, unsorted.counts),
            "metrics": {
                **{name: {"val": result.val, "test": result.test} for name, result in results.items()},
                "difference": gap,
                **({"teachers": together} if together else {}),
            },
            "made": made,
            "versions": {name: metadata.version(name) for name in ("kdlight-edge", "torch", "torchvision", "numpy")},
        }
        # Before the student, which tells export that the training has ended: it is judged by no half of a list.
        keep_pictures(run, shelf.readable("val"), shelf.readable("train"), data.labels)
        acceptance = _finish(run, student, shelf, results["student"].temperature, provenance, others)
        report = _report(run, shelf, (*teachers, student), results, gap, made, found.to_json(), acceptance)
        write_report(run, report)
        if together:
            split = "test" if together["test"] else "val"
            say(f"the {len(teachers)} teachers as one: {split} accuracy {together[split]['accuracy']:.2%}")
        for name, result in results.items():
            say(_headline(name, result))
        split = "test" if "test" in gap else "val"
        say(beside.told(split, gap[split]))
        say(acceptance.told())


def _complete(run: Path) -> bool:
    """Tell whether a training has written all it writes; the page is the last."""
    return all((run / name).is_file() for name in (finished.FILE, HELD_OUT, CALIBRATION, *PAGES))


def _result(name: str, taught: Taught, shelf: Shelf, side: int) -> ModelResult:
    """Judge a network on validation and test, calibrated on validation."""
    labels = shelf.data.labels
    val_truth = shelf.split("val", side).truth.numpy()
    temperature = fit_temperature(taught.logits["val"], val_truth)
    judged: dict[str, dict[str, Any]] = {}
    before = after = 0.0
    for split, logits in taught.logits.items():
        truth = shelf.split(split, side).truth.numpy()
        judged[split] = figures(softmax(logits, temperature), truth, labels)
        before, after = ece(softmax(logits, 1.0), truth), judged[split]["ece"]
    size = parameters(taught.network)
    macs = multiply_adds(taught.network, side, side)
    return ModelResult(name, size, macs, 4 * size, temperature, before, after, judged["val"], judged.get("test"))


def _gap(student: Taught, teacher: Taught, shelf: Shelf) -> dict[str, Any]:
    """Compare the student with its teacher on validation and test."""
    side = shelf.recipe.input.imgsz
    return {
        split: beside.compare(logits, teacher.logits[split], shelf.split(split, side).truth.numpy())
        for split, logits in student.logits.items()
    }


def _together(teachers: Sequence[Taught], shelf: Shelf) -> dict[str, Any] | None:
    """Judge the mean answers of several teachers on validation and test; None where there is one teacher alone."""
    if len(teachers) == 1:
        return None
    side = shelf.recipe.teacher.imgsz
    mean = {split: np.mean([one.logits[split] for one in teachers], axis=0) for split in teachers[0].logits}
    temperature = fit_temperature(mean["val"], shelf.split("val", side).truth.numpy())
    judged = {
        split: figures(softmax(logits, temperature), shelf.split(split, side).truth.numpy(), shelf.data.labels)
        for split, logits in mean.items()
    }
    return {"val": judged["val"], "test": judged.get("test")}


def _finish(
    run: Path, student: Taught, shelf: Shelf, temperature: float, provenance: dict[str, Any], foreign: Foreign
) -> Acceptance:
    """Fit the thresholds on validation, write RUN/student.pt, and return what the one of acceptance does."""
    recipe, side = shelf.recipe, shelf.recipe.input.imgsz
    val = shelf.split("val", side)
    train = shelf.split("train", side)
    features = features_of(student.network, train.pictures, shelf.place)
    others = (features_of_images(student.network, images, shelf.place) for images in foreign.values())
    model = part_from(fit_outlier(features, train.truth.numpy(), len(shelf.data.labels)), features, others)
    distances = model.distance(features_of(student.network, val.pictures, shelf.place))
    probabilities, truth = softmax(student.logits["val"], temperature), val.truth.numpy()
    accept = fit_acceptance(probabilities, truth)
    finished.save(
        run,
        finished.Finished(
            recipe.student.name, shelf.data.labels, input_of(recipe),
            {key: value.cpu() for key, value in student.network.state_dict().items()},
            model, temperature, accept, float(np.quantile(distances, OUTLIER_QUANTILE)), provenance,
        ),
    )  # fmt: skip
    return acceptance_of(probabilities, truth, accept)


def _report(
    run: Path,
    shelf: Shelf,
    taught: tuple[Taught, ...],
    results: dict[str, ModelResult],
    gap: dict[str, Any],
    made: str,
    audited: dict[str, Any],
    acceptance: Acceptance,
) -> Report:
    data, side, student = shelf.data, shelf.recipe.input.imgsz, taught[-1]
    split = "test" if "test" in student.logits else "val"
    pool = shelf.split(split, side)
    probabilities = softmax(student.logits[split], results["student"].temperature)
    images = pool.pictures.permute(0, 2, 3, 1).numpy()
    names = [Path(picture.name).name for picture in shelf.readable(split).pictures]
    cams = maps_of(student.network, pool.pictures, shelf.place)
    return Report(
        name=run.resolve().name,
        made=made,
        labels=data.labels,
        data={"counts": data.counts(), "fingerprint": data.fingerprint, "audit": audited, "notes": list(data.notes)},
        recipe=to_json(shelf.recipe),
        history=tuple(student.history),
        student=results["student"],
        teacher=results["teacher"],
        difference=gap,
        mistakes=worst_mistakes(probabilities, pool.truth.numpy(), images, data.labels, cams=cams, names=names),
        environment={**fingerprint(), "torch": torch.__version__, "device": str(shelf.place.device)},
        seconds=round(sum(_seconds(one) for one in taught), 1),
        making_pictures=round(sum(one.making for one in taught) / sum(one.seconds for one in taught), 4),
        acceptance=acceptance,
    )


def _seconds(taught: Taught) -> float:
    """Return how long the epochs took, those before an interruption included."""
    return float(sum(taught.passed / entry["images_per_second"] for entry in taught.history))


def _headline(name: str, result: ModelResult) -> str:
    split, judged = ("test", result.test) if result.test else ("val", result.val)
    low, high = judged["ci95"]
    return (
        f"{name} {result.name}: {split} accuracy {judged['accuracy']:.2%} ({low:.2%} to {high:.2%}), "
        f"balanced {judged['balanced_accuracy']:.2%}, ECE {judged['ece']:.3f}, {result.parameters:,} parameters"
    )
