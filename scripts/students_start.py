"""The start of a member of the family, for all its students: which pictures it learns from, and how it is made."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SETS = ("chest_xray_pneumonia", "histo_lc25000_lung", "glass_flat_cracks", "road_brazil_patches")
"""Sets whose terms allow weights to be passed on without doubt."""


def make_start(
    data: Path, file: Path, weights: Path | None = None, *, changes: Mapping[str, Any] | None = None
) -> Path:
    """Pretrain a start where it is not there yet; one that was killed goes on.

    Args:
        data: folder with the data sets.
        file: where the start shall stand.
        weights: the teacher's ImageNet weights; None lets them be downloaded.
        changes: to the recipe ``start``, dotted key to value.
    """
    if not file.is_file():
        from kdlight_train.place import choose_place
        from kdlight_train.pretrain import pretrain
        from kdlight_train.recipe import read_recipe

        recipe, sets = read_recipe("start", changes or {}), [data / name for name in SETS]
        pretrain(
            sets, file, recipe, choose_place("cpu"), lambda line: print(line, file=sys.stderr), teacher_weights=weights
        )
    return file
