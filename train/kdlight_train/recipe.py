"""Everything that decides how a student is made, read strictly from TOML and saved beside the result."""

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from kdlight_edge.errors import UsageError
from kdlight_edge.strict import Reader

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BUILT_IN = Path(__file__).parent / "recipes"
READER = Reader("recipe", UsageError, "add it")
LR_LIMIT = 1e37
"""Learning rates are below: AdamW's first step is ten times as large, and must be a number in single precision."""

RANGES: tuple[tuple[str, int, int | None], ...] = (
    # torch's generators take 64 bits, of which the student's seed, in steps of its own, needs some.
    ("seed", -(2**62), 2**62),
    ("student.seed", -(2**32), 2**32),
    ("teacher.epochs", 1, None),
    ("teacher.weight_decay", 0, None),
    ("teacher.label_smoothing", 0, 1),
    ("teacher.frozen", 0, None),
    ("teacher.count", 1, 16),
    ("student.epochs", 1, None),
    ("student.weight_decay", 0, None),
    ("student.warmup", 0, None),
    ("student.label_smoothing", 0, 1),
    ("distil.weight", 0, 1),
    ("distil.hint", 0, None),
    ("distil.views", 1, None),
    ("augment.stretch", 1, None),
    ("augment.rotate", 0, 180),
    ("augment.brightness", 0, 1),
    ("augment.contrast", 0, 1),
    ("augment.saturation", 0, 1),
    ("augment.noise", 0, 1),
    ("augment.blur", 0, 1),
    ("augment.erase", 0, 1),
    ("augment.mixup", 0, None),
    ("augment.cutmix", 0, 1),
)
"""Key of a number, its least and its most; None where any finite one will do."""


@dataclass(frozen=True, slots=True)
class InputRecipe:
    """The picture that the student sees; becomes the bundle's ``input``."""

    imgsz: int = 128
    """Side of the square input in pixels, a multiple of 32."""
    colour: Literal["rgb", "grey"] = "rgb"
    resize: Literal["squash", "fit", "crop"] = "squash"
    interpolation: Literal["reduce", "linear", "area"] = "reduce"


@dataclass(frozen=True, slots=True)
class TeacherRecipe:
    """How the teacher is fine-tuned."""

    name: str = "mobilenet_v2"
    """Any torchvision classifier that ends in a linear layer."""
    imgsz: int = 160
    """Side of the square picture the teacher sees; at least the student's."""
    epochs: int = 6
    batch: int = 32
    lr: float = 5e-4
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    frozen: int = 0
    """First stages of the feature part that keep their ImageNet weights: on a CPU they take most of the time."""
    count: int = 1
    """How many teachers, alike but for their seeds, the student learns the mean answers of."""


@dataclass(frozen=True, slots=True)
class StudentRecipe:
    """Which student, and how long it learns."""

    name: Literal["nano", "small", "base", "paper"] = "small"
    epochs: int = 120
    batch: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.03
    warmup: int = 4
    """Epochs of linear warm-up before the cosine."""
    ema: float = 0.998
    """Decay a step of the averaged weights, which are the ones that are kept."""
    label_smoothing: float = 0.05
    seed: int = 0
    """Another one trains another student of the same pictures, split and teacher stay the same."""
    bf16: bool = True
    """Whether it learns in bfloat16 on a CPU that multiplies it, as it does on a GPU."""


@dataclass(frozen=True, slots=True)
class DistilRecipe:
    """How the teacher's answers enter the student's loss."""

    method: Literal["none", "kl", "standardised", "dist", "dkd"] = "kl"
    temperature: float = 2.0
    weight: float = 0.9
    """Share of the distillation loss, 0 to 1; the rest is cross-entropy with the labels."""
    hint: float = 0.0
    """Weight of the distance to the teacher's feature map (`kdlight_train.components`); 0 leaves the map out."""
    views: int = 30
    """Different seeded augmentations of the training set: the teacher answers each once, later epochs repeat them."""


@dataclass(frozen=True, slots=True)
class AugmentRecipe:
    """What may happen to a training picture; teacher and student see the same result."""

    scale: tuple[float, ...] = (0.6, 1.0)
    """Smallest and largest share of the picture's area that is cut out."""
    stretch: float = 1.2
    """Largest change of the proportions."""
    rotate: float = 10.0
    """Largest rotation in degrees, either way."""
    flip_horizontal: bool = True
    flip_vertical: bool = False
    quarter_turns: bool = False
    """Rotate by any multiple of 90 degrees: for pictures without an upright (surfaces, tissue)."""
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.0
    noise: float = 0.0
    """Largest standard deviation of additive noise, in units of full range."""
    blur: float = 0.0
    """Share of pictures that lose resolution (to between a half and the whole)."""
    erase: float = 0.1
    """Share of pictures that lose a rectangle."""
    mixup: float = 0.2
    """Parameter of the Beta distribution of mixed pictures; 0 switches mixing off."""
    cutmix: float = 0.0
    """Share of batches in which a rectangle comes from another picture instead of mixing the whole."""
    trivial: bool = False
    """One change of any kind and strength for each picture (TrivialAugment); usually with the ones above set to 0."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training, whole."""

    seed: int = 0
    balance: Literal["none", "sample"] = "sample"
    """``sample`` draws pictures so that classes come equally often, moved half-way from their true shares."""
    val_share: float = 0.15
    test_share: float = 0.15
    input: InputRecipe = field(default_factory=InputRecipe)
    teacher: TeacherRecipe = field(default_factory=TeacherRecipe)
    student: StudentRecipe = field(default_factory=StudentRecipe)
    distil: DistilRecipe = field(default_factory=DistilRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)


def read_recipe(name: str | None, changes: Mapping[str, Any]) -> Recipe:
    """Read a recipe and lay flags over it; a teacher whose picture size is not given sees no less than the student.

    Args:
        name: a TOML file, the name of a built-in recipe (``surface``, ``xray``, …), or None for the defaults.
        changes: dotted key to value (``student.epochs``), None meaning not given.

    Raises:
        UsageError: no such recipe, not TOML, an unknown key, or values that cannot be.
    """
    document: dict[str, Any] = {} if name is None else _load(name)
    for dotted, value in changes.items():
        if value is not None:
            *tables, key = dotted.split(".")
            table = document
            for step in tables:
                table = table.setdefault(step, {})
            table[key] = value
    recipe = READER.record(Recipe, document)
    if "imgsz" not in document.get("teacher", {}) and recipe.teacher.imgsz < recipe.input.imgsz:
        teacher = dataclasses.replace(recipe.teacher, imgsz=recipe.input.imgsz)
        recipe = dataclasses.replace(recipe, teacher=teacher)
    _check(recipe)
    return recipe


def built_in_recipes() -> list[str]:
    """Return the names of the recipes that come with the program."""
    return sorted(file.stem for file in BUILT_IN.glob("*.toml"))


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain types, for JSON."""
    return dataclasses.asdict(recipe)


def _load(name: str) -> dict[str, Any]:
    file = BUILT_IN / f"{name}.toml" if name in built_in_recipes() else Path(name)
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        known = ", ".join(built_in_recipes())
        raise UsageError(f"--recipe {name} is no readable file ({error.strerror}) nor one of {known}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--recipe {name} is not TOML: {error}") from error


def _check(recipe: Recipe) -> None:
    """Refuse values that cannot be, naming key, value and what would do."""
    for key, least, most in RANGES:
        value = attrgetter(key)(recipe)
        if not (least <= value < math.inf if most is None else least <= value <= most):
            wanted = f"{least} or more" if most is None else f"from {least} to {most}"
            raise UsageError(f"recipe key '{key}' is {value}; it must be {wanted}")
    student, teacher, distil, augment = recipe.student, recipe.teacher, recipe.distil, recipe.augment
    rules: list[tuple[bool, str, object, str]] = [
        (recipe.input.imgsz % 32 == 0 and 32 <= recipe.input.imgsz <= 1024, "input.imgsz", recipe.input.imgsz,  # noqa: PLR2004
         "a multiple of 32 from 32 to 1024"),
        (teacher.imgsz >= recipe.input.imgsz, "teacher.imgsz", teacher.imgsz, "at least input.imgsz"),
        (student.batch >= 2, "student.batch", student.batch, "2 or more (a batch norm needs two pictures)"),  # noqa: PLR2004
        (teacher.batch >= 2, "teacher.batch", teacher.batch, "2 or more (a batch norm needs two pictures)"),  # noqa: PLR2004
        (0 < student.lr < LR_LIMIT, "student.lr", student.lr, f"above 0 and below {LR_LIMIT:g}"),
        (0 < teacher.lr < LR_LIMIT, "teacher.lr", teacher.lr, f"above 0 and below {LR_LIMIT:g}"),
        (0 <= student.ema < 1, "student.ema", student.ema, "from 0 to below 1"),
        (distil.temperature > 0, "distil.temperature", distil.temperature, "above 0"),
        (len(augment.scale) == 2 and 0 < augment.scale[0] <= augment.scale[1] <= 1, "augment.scale",  # noqa: PLR2004
         list(augment.scale), "two shares of the area, smaller first, like [0.6, 1.0]"),
        (0 < recipe.val_share < 0.5, "val_share", recipe.val_share, "between 0 and 0.5"),  # noqa: PLR2004
        (0 < recipe.test_share < 0.5, "test_share", recipe.test_share, "between 0 and 0.5"),  # noqa: PLR2004
    ]  # fmt: skip
    for holds, key, value, wanted in rules:
        if not holds:
            raise UsageError(f"recipe key '{key}' is {value}; it must be {wanted}")
