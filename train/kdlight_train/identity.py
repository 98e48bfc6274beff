"""What tells one training from another, as RUN/run.json keeps it: none is gone on with by a command for another."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdlight_edge.errors import DataError, UsageError
from kdlight_train import finished
from kdlight_train.claim import write
from kdlight_train.data import Data
from kdlight_train.foreign import Foreign, digest_of
from kdlight_train.recipe import Recipe, to_json
from kdlight_train.workshop import DOWNLOADED, origin_of


def record_of(
    recipe: Recipe, data: Data, *, start: str | None, weights: str, foreign: Foreign, unlabelled: str | None = None
) -> dict[str, Any]:
    """Return what a training is told from another one by, as it stands in RUN/run.json."""
    record = {
        "recipe": to_json(recipe), "fingerprint": data.fingerprint, "weights": weights, "foreign": digest_of(foreign),
    }  # fmt: skip
    # An older training knows neither; where there is none, nothing is said.
    return {**record, **{key: one for key, one in (("start", start), ("unlabelled", unlabelled)) if one}}


def origin_in(run: Path, weights: Path | None, *, resume: bool) -> str:
    """Return what the teacher's ImageNet weights are: the given ones, or those that a resumed training began with."""
    if resume and weights is None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # `take` tells what is wrong with it
            return str(json.loads((run / finished.CLAIM).read_text(encoding="utf-8"))["weights"])
    return origin_of(weights)


def take(run: Path, record: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Make RUN ours and return the claim, or see that what it holds is this very training and return None."""
    file = run / finished.CLAIM
    text = json.dumps(record, indent=1)
    if file.is_file():
        if not resume:
            raise UsageError(f"--out {run} holds a training already; add --resume to go on, or choose another folder")
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            held = dict(held)
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{file} cannot be read ({error}); choose another --out") from error
        # Older trainings do not say these two.
        known = {key: value for key, value in record.items() if key in held or key not in ("weights", "foreign")}
        held["recipe"] = _over(json.loads(json.dumps(to_json(Recipe()))), held.get("recipe"))
        difference = _difference(held, json.loads(json.dumps(known)))
        if difference:
            raise UsageError(f"--resume: {run} was started with {difference}; use the same, or another --out")
        return None
    try:
        run.mkdir(parents=True, exist_ok=True)
        write(file, text + "\n")
    except OSError as error:
        raise DataError(f"--out {run} cannot be written: {error.strerror}") from error
    return file


def _over(default: Any, given: Any) -> Any:
    """Return an older training's recipe with the keys that it does not know yet: their defaults change nothing."""
    if not isinstance(default, dict) or not isinstance(given, dict):
        return given
    return {**default, **{key: _over(default.get(key), value) for key, value in given.items()}}


def _difference(held: Any, wanted: Any, where: str = "") -> str | None:
    """Name the first key that differs, with the value that the older training had."""
    if isinstance(held, dict) and isinstance(wanted, dict):
        for key in sorted({*held, *wanted}):
            found = _difference(held.get(key), wanted.get(key), f"{where}{key}.")
            if found:
                return found
        return None
    if held == wanted:
        return None
    key = where.rstrip(".").removeprefix("recipe.")
    others = {
        "fingerprint": "other pictures, or another cut of them (by groups, or a folder's name with them)",
        "weights": f"other --teacher-weights ({'downloaded' if held == DOWNLOADED else f'SHA-256 {held}'})",
        "foreign": "other pictures with --foreign" if held else "no --foreign",
        "unlabelled": "other pictures with --unlabelled" if held else "no --unlabelled",
    }
    return others.get(key, f"{key} = {held}")
