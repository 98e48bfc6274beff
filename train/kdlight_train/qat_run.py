"""`train --qat` as a function: a finished run, or a bundle whose run is gone, gets its 8-bit numbers by training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdlight_edge.bundle import open_bundle
from kdlight_edge.errors import DataError, UsageError
from kdlight_train import finished
from kdlight_train.claim import LOCK, alone, busy
from kdlight_train.claim import write as write_claim
from kdlight_train.data import Data, open_data
from kdlight_train.finished import Finished
from kdlight_train.place import Place
from kdlight_train.qat import CHECKPOINT, FILE, Settings, learn_8_bits, save
from kdlight_train.recipe import LR_LIMIT, READER, Recipe
from kdlight_train.run_from_bundle import run_from_bundle
from kdlight_train.workshop import Say, Shelf

CLAIM = "student.int8.json"
"""What the 8-bit numbers in RUN are made of: a checkpoint is gone on with only by the very same training."""


def qat(
    paths: Sequence[Path],
    run: Path,
    place: Place,
    say: Say,
    *,
    settings: Mapping[str, Any],
    bundle: Path | None,
    recipe: Recipe | None,
    groups: Sequence[Path],
    group_regex: str | None,
) -> None:
    """Write RUN/student.int8.pt, from which `export` builds INT8; the student itself stays.

    Args:
        paths: the folders that the student learnt from.
        run: a finished training, or where the bundle's student is to stand.
        place: device and rank.
        say: tells people, a line at a time.
        settings: of `Settings`, what is not the default.
        bundle: a bundle whose run is gone.
        recipe: what the student is asked to be made by, to see that it was; None asks nothing.
        groups: see `open_data`.
        group_regex: see `open_data`.

    Raises:
        DataError: other pictures, an unfinished run, a disk that is full.
        UsageError: settings that cannot be, or RUN holds another student than the bundle.
        KDLightError: another training is at work in RUN.
    """
    chosen = settings_of(settings)
    place.await_first()  # the others have left a training before it while the first still writes its RUN
    if bundle is None:
        finished.require(run)  # a folder that holds no student gets no lock either
    with alone(run / LOCK, place, busy(run)):
        if bundle is not None and place.first:
            _unpack(bundle, paths, run, say, groups, group_regex)
        place.await_first()  # and while it unpacks a bundle
        student = finished.load(run)
        known = recipe_of(student)
        if recipe is not None and recipe != known:
            raise UsageError(
                f"{run} holds a student of another recipe; leave out the flags that set it, or choose another --out"
            )
        data = open_data(
            paths, groups=groups, group_regex=group_regex,
            val_share=known.val_share, test_share=known.test_share, seed=known.seed,
        )  # fmt: skip
        _same(data, student, run)
        if place.first:
            _claim(run, student, chosen)
        learnt = learn_8_bits(Shelf(data, known, place, say), student, run, chosen, say)
        if place.first:
            save(run, learnt, student)
            say(f"{run / FILE}: kdlight-edge export {run} builds INT8 from it; fp32 stays as it was")


def settings_of(changes: Mapping[str, Any]) -> Settings:
    """Return the settings with what is not the default.

    Raises:
        UsageError: one cannot be.
    """
    chosen = Settings(**changes)
    if chosen.epochs < 1:
        raise UsageError(f"--qat-epochs {chosen.epochs}: it must be above 0")
    if not 0 < chosen.lr < LR_LIMIT:
        raise UsageError(f"--qat-lr {chosen.lr:g}: it must be above 0 and below {LR_LIMIT:g}")
    return chosen


def recipe_of(student: Finished) -> Recipe:
    """Return the recipe that a student was made by.

    Raises:
        DataError: it was made by another version.
    """
    known = {key: value for key, value in student.provenance["recipe"].items() if key != "start"}
    try:
        return READER.record(Recipe, known)
    except UsageError as error:
        raise DataError(f"the student was made by another version ({error}); train it again") from error


def _unpack(
    bundle: Path, paths: Sequence[Path], run: Path, say: Say, groups: Sequence[Path], group_regex: str | None
) -> None:
    """Make RUN of a bundle, or see that RUN was made of it."""
    if not (run / "student.pt").is_file():
        run_from_bundle(open_bundle(bundle), paths, run, say, groups=groups, group_regex=group_regex)
        return
    held, wanted = finished.load(run).provenance, open_bundle(bundle).manifest.provenance
    if (held["made"], held["data"]["fingerprint"]) != (wanted.made, wanted.data["fingerprint"]):
        raise UsageError(f"--out {run} holds another student than {bundle}; choose another folder")


def _same(data: Data, student: Finished, run: Path) -> None:
    wanted = student.provenance["data"]["fingerprint"]
    if data.fingerprint != wanted:
        raise DataError(
            f"--data: not the pictures that {run} was trained on (fingerprint {data.fingerprint[:12]}, wanted "
            f"{wanted[:12]}); give the same folders by the same names and in the same order, and its "
            "--groups or --group-regex"
        )


def _claim(run: Path, student: Finished, settings: Settings) -> None:
    """Say what the numbers are made of; what was made otherwise before is made anew, and stays until it is."""
    file = run / CLAIM
    text = json.dumps({"student": student.provenance["made"], "settings": asdict(settings)}, indent=1) + "\n"
    try:
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            (run / CHECKPOINT).unlink(missing_ok=True)
            write_claim(file, text)
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror}") from error
