#!/usr/bin/env python3
"""Compare this project's 8-bit files with NNCF's, bundle by bundle, in OpenVINO; writes docs/results/quantisers.json.

usage: scripts/compare_quantisers.py --data DIR [--only NAME ...]

Both begin at the float ONNX file of models/NAME.kdl and see the same calibration pictures, which the training named;
both are judged on its validation pictures against the float file: answers that differ, over all and in the worst class,
accuracy, bytes, and the median time, the files taking turns. NNCF is asked three times: as it comes, with its mixed
preset and full bias correction, and with accuracy control (half a point of agreement on the calibration pictures).
Needs kdlight-edge[train,openvino] and nncf, which is not among this project's packages.
"""

import argparse
import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nncf  # type: ignore[import-not-found] # see above
import numpy as np
import openvino
from measure_models import TESTS
from records import write_record

from kdlight_devices.fingerprint import versions
from kdlight_edge.bundle import open_bundle
from kdlight_edge.manifest import Manifest
from kdlight_edge.meter import collect
from kdlight_export.calibration import calibration_batch
from kdlight_export.onnx_from_student import rounded_onnx, rounded_to_8_bits
from kdlight_export.openvino_from_onnx import openvino_from_onnx
from kdlight_export.quantize import quantize
from kdlight_export.run_pictures import run_pictures
from kdlight_train import finished, qat
from kdlight_train.kept import HELD_OUT
from kdlight_train.run_from_bundle import run_from_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "quantisers.json"
ROUNDS, BLOCK = 40, 10
"""Turns of every file, and runs a turn."""


def main() -> int:
    """Quantise, judge and write."""
    parser = argparse.ArgumentParser(description="Compare with NNCF; see the file's own first lines.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    parser.add_argument("--only", nargs="+", default=list(TESTS), metavar="NAME", help="bundles")
    args = parser.parse_args()
    rows = []
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            rows += judged(name, [args.data / one.split("/")[0] for one in TESTS[name]], Path(folder))
        print(*(f"{row['name']} {row['way']}: {row['differ']} of {row['n']} differ" for row in rows[-4:]), sep="\n")
    write_record(
        RESULTS,
        "scripts/compare_quantisers.py --data DIR",
        versions={**versions(), **versions(("nncf", "openvino"))},
        rows=rows,
    )
    return 0


def judged(name: str, folders: list[Path], run: Path) -> list[dict[str, Any]]:
    """Return a row for each way."""
    bundle = open_bundle(ROOT / "models" / f"{name}.kdl")
    run_from_bundle(bundle, folders, run, print)
    spec, labels = bundle.manifest.input, tuple(label.id for label in bundle.manifest.labels)
    content = next(bundle.file_of(one) for one in bundle.manifest.artifacts if one.file == "student.onnx").read_bytes()
    calibration = calibration_batch(run, labels, spec, print)
    held_out = run_pictures(run, HELD_OUT, labels, spec, print)
    pictures = np.stack([picture for picture, _ in held_out])
    truth = np.array([label for _, label in held_out])
    exact = fixed(content, spec)
    ways = {
        "ours": ours(bundle.manifest, run, calibration),
        "nncf": nncf.quantize(fixed(content, spec), dataset(calibration), subset_size=len(calibration)),
        "nncf, mixed preset, full bias correction": nncf.quantize(
            fixed(content, spec), dataset(calibration), subset_size=len(calibration),
            preset=nncf.QuantizationPreset.MIXED, fast_bias_correction=False,
        ),
        "nncf, accuracy control": controlled(content, spec, calibration, exact),
    }  # fmt: skip
    answers = {"fp32": logits(exact, pictures), **{way: logits(model, pictures) for way, model in ways.items()}}
    times = in_turn({"fp32": exact, **ways}, pictures[:1])
    right = answers["fp32"].argmax(axis=1)
    return [
        {
            "name": name,
            "way": way,
            "n": len(truth),
            "differ": int((answers[way].argmax(axis=1) != right).sum()),
            "worst_class": min(
                float((answers[way].argmax(axis=1) == right)[right == kind].mean()) for kind in np.unique(right)
            ),
            "accuracy": float((answers[way].argmax(axis=1) == truth).mean()),
            "accuracy_fp32": float((right == truth).mean()),
            "logit_error": float(np.abs(answers[way] - answers["fp32"]).max()),
            "bytes": size(ways[way], run),
            "p50_ms": times[way],
            "p50_ms_fp32": times["fp32"],
        }
        for way in ways
    ]


def ours(manifest: Manifest, run: Path, calibration: Any) -> openvino.Model:
    """Return what `export` makes of the student for OpenVINO."""
    student = finished.load(run)
    learnt = qat.load(run, student) or rounded_to_8_bits(student, calibration)
    rounded, scales = rounded_onnx(student, learnt, manifest.name)
    content = quantize(rounded, learnt.ranges, scales, stem=True)
    files = openvino_from_onnx(content, "ours", manifest.labels, student.input)
    for file, part in files.items():
        (run / file).write_bytes(part)
    return shaped(openvino.Core().read_model(run / "ours.xml"), student.input)


def fixed(content: bytes, spec: Any) -> openvino.Model:
    """Return the float network for one picture."""
    return shaped(openvino.Core().read_model(content), spec)


def shaped(model: openvino.Model, spec: Any) -> openvino.Model:
    """Return the network for one picture at a time."""
    model.reshape([1, spec.height, spec.width, 3])
    return model


def dataset(pictures: Any) -> nncf.Dataset:
    """Return pictures one by one."""
    return nncf.Dataset(list(pictures[:, np.newaxis]))


def controlled(content: bytes, spec: Any, calibration: Any, exact: openvino.Model) -> openvino.Model:
    """Return what accuracy control leaves in 8 bits; what it may lose are answers like the float network's."""
    wanted = logits(exact, calibration).argmax(axis=1)

    def agrees(compiled: Any, given: Any) -> tuple[float, None]:
        answers = [compiled(picture)["logits"].argmax() for picture in given]
        return float(np.mean(np.array(answers) == wanted)), None

    return nncf.quantize_with_accuracy_control(
        fixed(content, spec), dataset(calibration), dataset(calibration), agrees, max_drop=0.005,
        subset_size=len(calibration),
    )  # fmt: skip


def compiled_for(model: openvino.Model) -> Any:
    """Compile as the runtime does, on one thread."""
    settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", settings)


def logits(model: openvino.Model, pictures: Any) -> Any:
    """Return float32 [n, C]."""
    compiled = compiled_for(model)
    return np.concatenate([compiled(picture[np.newaxis])["logits"].copy() for picture in pictures])


def in_turn(models: dict[str, openvino.Model], picture: Any) -> dict[str, float]:
    """Return the median time of each for one picture, in milliseconds, all taking turns."""
    runs: dict[str, Callable[[], object]] = {}
    for way, model in models.items():
        request = compiled_for(model).create_infer_request()
        request.get_input_tensor().data[:] = picture
        runs[way] = functools.partial(request.infer, share_inputs=True, share_outputs=True)
    taken: dict[str, list[float]] = {way: [] for way in runs}
    for _ in range(ROUNDS):
        for way, run in runs.items():
            run()
            taken[way] += collect(run, seconds=0, samples=BLOCK)
    return {way: float(np.median(times)) for way, times in taken.items()}


def size(model: openvino.Model, folder: Path) -> int:
    """Return the bytes of a network's two files, weights in 16 bits where they are float."""
    openvino.save_model(model, folder / "weighed.xml", compress_to_fp16=True)
    return sum((folder / f"weighed{end}").stat().st_size for end in (".xml", ".bin"))


if __name__ == "__main__":
    raise SystemExit(main())
