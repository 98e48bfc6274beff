"""A bundle and the pictures it learnt from, back to the run that it was exported from."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kdlight_edge.bundle import Bundle
from kdlight_edge.errors import DataError, UsageError
from kdlight_edge.manifest import Artifact
from kdlight_train import finished
from kdlight_train.calibrate import OUTLIER_QUANTILE
from kdlight_train.data import Data, open_data
from kdlight_train.finished import Finished
from kdlight_train.folders import check_foreign
from kdlight_train.foreign import part_from, read_foreign, told
from kdlight_train.kept import keep_pictures
from kdlight_train.pictures import load_telling
from kdlight_train.place import choose_place
from kdlight_train.weights_from_onnx import weights_from_onnx
from kdlight_train.workshop import features_of_images


def run_from_bundle(
    bundle: Bundle,
    paths: Sequence[Path],
    run: Path,
    say: Callable[[str], None],
    foreign: Sequence[Path] | None = None,
    *,
    groups: Sequence[Path] = (),
    group_regex: str | None = None,
) -> None:
    """Write RUN/student.pt and the lists of pictures to compare and to calibrate on.

    The float ONNX file holds every weight; the pictures must be the very ones that the training split, by the same
    groups (see `open_data`). With foreign folders, even none of them, the outlier output learns their pictures and the
    generated ones, and its limit is set again on the validation pictures.

    Raises:
        DataError: the bundle has no float ONNX file, does not say what it learnt from, or the pictures are others.
        UsageError: no pictures are given, or foreign ones that are among them.
    """
    if not paths:
        raise UsageError(f"{bundle.path} is a bundle; --data must name the folders that it was trained on")
    check_foreign(paths, foreign or ())
    manifest, artifact = bundle.manifest, _float_file(bundle)
    content = bundle.file_of(artifact).read_bytes()
    weights, model = weights_from_onnx(content, manifest.student, len(manifest.labels))
    data = _same_data(bundle, paths, groups, group_regex)
    accept, outlier = artifact.thresholds.accept, artifact.thresholds.outlier
    if outlier is None:
        raise DataError(f"{bundle.path} states no outlier limit for {artifact.file}; export it from its run")
    provenance = dataclasses.asdict(manifest.provenance)
    student = Finished(
        manifest.student, tuple(label.id for label in manifest.labels), manifest.input, weights, model,
        artifact.temperature, accept, outlier, provenance,
    )  # fmt: skip
    run.mkdir(parents=True, exist_ok=True)
    finished.save(run, student if foreign is None else _shown(student, data, foreign, say))
    keep_pictures(run, data.val, data.train, data.labels)


def _shown(student: Finished, data: Data, paths: Sequence[Path], say: Callable[[str], None]) -> Finished:
    """Return the student with an outlier output that was shown foreign pictures."""
    others, network, place = read_foreign(paths, student.input, say), student.network(), choose_place("cpu")

    def features(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return features_of_images(network, images, place)

    own = features(load_telling(data.train, student.input, say).images)
    model = part_from(student.outlier, own, map(features, others.values()))
    distances = model.distance(features(load_telling(data.val, student.input, say).images))
    return dataclasses.replace(
        student, outlier=model, outlier_limit=float(np.quantile(distances, OUTLIER_QUANTILE)),
        provenance={**student.provenance, "data": told(student.provenance["data"], others)},
    )  # fmt: skip


def _float_file(bundle: Bundle) -> Artifact:
    for artifact in bundle.manifest.artifacts:
        if artifact.format == "onnx" and artifact.precision == "fp32":
            return artifact
    raise DataError(f"{bundle.path} has no fp32 ONNX file to build others from; export it from its run")


def _same_data(bundle: Bundle, paths: Sequence[Path], groups: Sequence[Path], group_regex: str | None) -> Data:
    recipe, wanted = bundle.manifest.provenance.recipe, bundle.manifest.provenance.data.get("fingerprint")
    if not isinstance(wanted, str):
        raise DataError(
            f"{bundle.path} does not say which pictures it was trained on: its manifest lacks the key "
            "'provenance.data.fingerprint'; export it from its run"
        )
    shares = {key: recipe[key] for key in ("val_share", "test_share", "seed") if key in recipe}
    data = open_data(paths, groups=groups, group_regex=group_regex, **shares)
    if data.fingerprint != wanted:
        names = ", ".join(map(str, paths))
        raise DataError(
            f"{names}: not the pictures that {bundle.path} was trained on (fingerprint {data.fingerprint[:12]}, "
            f"wanted {wanted[:12]}); give the same folders by the same names and in the same order, and its "
            "--groups or --group-regex"
        )
    return data
