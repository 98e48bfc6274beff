"""The files that could go into a bundle, built from the student's float ONNX file for what the plan names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdlight_edge.bundle import sha256_of
from kdlight_edge.errors import BundleError, DataError, MissingPackage, missing_package
from kdlight_edge.manifest import Artifact, Label, Part, Thresholds, Trial
from kdlight_export.calibration import calibration_batch
from kdlight_export.onnx_fp16_from_onnx import onnx_fp16_from_onnx
from kdlight_export.onnx_from_student import Finished, rounded_onnx, rounded_to_8_bits
from kdlight_export.plan import ENGINE_OF, Plan
from kdlight_export.quantize import quantize
from kdlight_export.run_pictures import Say
from kdlight_train import qat


@dataclass(frozen=True, slots=True)
class Candidate:
    """One artifact with the bytes of its files; its figures are still to be measured."""

    artifact: Artifact
    files: Mapping[str, bytes]
    source: bool = False
    """Whether a TensorRT engine is built from it elsewhere: proved here, where ONNX Runtime computes the same graph,
    and not raced."""
    told: str = ""
    """How its 8-bit numbers were found, where not as usual."""
    made_of: str = ""
    """Of such an engine: the ONNX file that it is built from."""

    @property
    def engine(self) -> str:
        """Name of the engine that runs it."""
        return ENGINE_OF[self.artifact.format]


def candidates(
    student: Finished, content: bytes, labels: Sequence[Label], plan: Plan, run: Path, graph_name: str, say: Say
) -> tuple[list[Candidate], list[Trial]]:
    """Build what the plan names; the float ONNX file comes first.

    Args:
        student: of the run.
        content: its float ONNX file.
        labels: of the bundle, in the order of the logits.
        plan: what to build.
        run: holds the calibration pictures, or the 8-bit numbers that were learnt.
        graph_name: of the networks.
        say: is told which calibration pictures can no longer be read.

    Returns:
        What was built, and for each that could not be why.

    Raises:
        DataError: INT8 is forced and there are no pictures to calibrate on.
        MissingPackage: INT8 is forced and ONNX Runtime or onnx is missing.
    """
    built, failed = [candidate("onnx", "fp32", {"student.onnx": content}, student)], []
    eight: dict[str, bytes] = {}
    told = ""
    for kind, precision in plan.formats[1:]:
        name = _name(kind, precision)
        try:
            if precision == "int8" and not eight:
                told, eight = _quantized(student, run, graph_name, say)
            source = eight[kind] if precision == "int8" else content
            if kind == "tensorrt":
                files = {f"{name}.onnx": source if precision == "int8" else onnx_fp16_from_onnx(content)}
            else:
                files = {f"{name}.onnx": source} if kind == "onnx" else _openvino(source, name, labels, student)
        except (DataError, BundleError, MissingPackage) as error:
            if precision == "int8" and plan.int8 == "on" and isinstance(error, DataError):
                raise
            file = f"{name}.{'xml' if kind == 'openvino' else 'onnx'}"
            failed.append(Trial(file, ENGINE_OF[kind], kind, precision, 0, kept=False, reason=f"not built: {error}"))
        else:
            source_of = kind == "tensorrt"
            one = candidate("onnx" if source_of else kind, precision, files, student, source=source_of)
            built.append(replace(one, told=told if precision == "int8" else ""))
    return built, failed


def _name(kind: str, precision: str) -> str:
    """Return the stem of a file: TensorRT's are in 16 bits, or in the only 8 bits it takes."""
    if kind == "tensorrt":
        return {"fp16": "student.fp16", "int8": "student.symmetric8"}[precision]
    return "student.int8" if precision == "int8" else "student"


def candidate(
    kind: str, precision: str, files: Mapping[str, bytes], student: Finished, *, source: bool = False
) -> Candidate:
    """Describe files, the first of which the engine is given, with the student's own temperature and thresholds."""
    parts = [Part(name, sha256_of(content), len(content)) for name, content in files.items()]
    artifact = Artifact(
        parts[0].file, kind, precision, parts[0].sha256, parts[0].bytes,  # type: ignore[arg-type]
        student.temperature, Thresholds(student.accept, student.outlier_limit), parts=tuple(parts[1:]),
    )  # fmt: skip
    return Candidate(artifact, files, source)


def _quantized(student: Finished, run: Path, name: str, say: Say) -> tuple[str, dict[str, bytes]]:
    """Return how the 8-bit numbers were found, and the Q/DQ file for each format.

    They are those that RUN learnt (`train --qat`), else found here. OpenVINO's file has an 8-bit first convolution,
    whose weights are in the ONNX file too, in float but on the same grid; TensorRT's is symmetric.
    """
    learnt = qat.load(run, student)
    if learnt is None:
        learnt = rounded_to_8_bits(student, calibration_batch(run, student.labels, student.input, say))
    rounded, scales = rounded_onnx(student, learnt, name)
    return learnt.told, {
        "onnx": quantize(rounded, learnt.ranges, scales, stem=False),
        "openvino": quantize(rounded, learnt.ranges, scales, stem=True),
        "tensorrt": quantize(rounded, learnt.ranges, scales, stem=False, symmetric=True),
    }


def _openvino(content: bytes, name: str, labels: Sequence[Label], student: Finished) -> dict[str, bytes]:
    try:
        from kdlight_export.openvino_from_onnx import openvino_from_onnx
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        raise missing from error
    except ImportError as error:
        # Its own words name folders of this machine, and would go into the manifest.
        raise MissingPackage(
            "openvino is installed and lacks what an export asks of it; pip install -U 'kdlight-edge[openvino]'"
        ) from error
    return openvino_from_onnx(content, name, labels, student.input)
