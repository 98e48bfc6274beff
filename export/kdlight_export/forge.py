"""`export` as a function: build beside the place, compare from bytes, weigh, and only then put the bundle there."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kdlight_edge.bundle import Bundle, sha256_of, write_bundle
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Settings
from kdlight_edge.engines import open_engine
from kdlight_edge.errors import BudgetExceeded, UsageError
from kdlight_edge.manifest import SCHEMA_VERSION, Artifact, Budget, Golden, Manifest, Provenance, Thresholds
from kdlight_edge.prepare import prepare_input
from kdlight_edge.testing import golden_picture
from kdlight_export.card import CardFile, labels_of, read_card
from kdlight_export.held_out import held_out_files
from kdlight_export.onnx_from_student import Finished, costs, onnx_from_student, open_run, reference
from kdlight_export.parity import Parity, compare, encoded_golden, require
from kdlight_export.plan import Plan

GOLDEN_SEEDS = tuple(range(1, 9))

GOLDEN_TOLERANCE = 0.05
"""Largest |Δlogit| allowed on a device: processors round resizes and sums differently, by a hundredth at most."""


def export(run: Path, out: Path, plan: Plan, *, card_file: Path | None) -> Iterator[str]:
    """Build a bundle from a finished training; yields what was found, a line at a time.

    Raises:
        DataError: RUN is not finished.
        UsageError: the card or the name cannot be.
        ParityError: an artifact answers differently from the student.
        BudgetExceeded: the bundle is larger than a board of the target allows.
        BundleError: it cannot be written.
    """
    if out.suffix != ".kdl":
        raise UsageError(f"--out {out} must end in .kdl")
    student, card = open_run(run), read_card(card_file)
    content = onnx_from_student(student, card.name or out.stem)
    artifact = Artifact(
        "student.onnx", "onnx", "fp32", sha256_of(content), len(content), student.temperature,
        Thresholds(student.accept, student.outlier_limit),
    )  # fmt: skip
    manifest = _manifest(student, card, out.stem, plan, artifact)
    files = {artifact.file: content}
    with tempfile.TemporaryDirectory(prefix="kdlight-export-") as folder:
        trial = write_bundle(Path(folder) / out.name, manifest, files)
        pictures = held_out_files(run, student.labels)
        parity, accuracy = _prove(trial, student, pictures)
        _weigh(trial, plan)
    proved = dataclasses.replace(
        artifact, accuracy=accuracy, agreement=parity.agreement, max_logit_difference=parity.max_difference
    )
    manifest = dataclasses.replace(manifest, artifacts=(proved,), golden=_golden(student, proved))
    bundle = write_bundle(out, manifest, files)
    with Classifier(bundle, open_engine(bundle), Settings()) as classifier:
        difference = classifier.verify()
    yield _line(proved, parity, len(pictures))
    yield f"golden pictures on {classifier.engine.name}: max |Δlogit| {difference:.2g}; bundle {bundle.bytes:,} bytes"


def _prove(bundle: Bundle, student: Finished, pictures: list[tuple[bytes, int]]) -> tuple[Parity, float | None]:
    """Compare with the torch student on the held-out and the procedural pictures, and count right answers."""
    files = [content for content, _ in pictures] + encoded_golden(GOLDEN_SEEDS)
    with Classifier(bundle, open_engine(bundle), Settings()) as classifier:
        artifact = classifier.engine.artifact
        parity = compare(classifier, reference(student), files)
    require(parity, artifact.precision, artifact.file)
    right = [first == truth for first, (_, truth) in zip(parity.first, pictures, strict=False)]
    return parity, float(np.mean(right)) if right else None


def _golden(student: Finished, artifact: Artifact) -> Golden:
    """Return the golden pictures' logits as the torch student gives them."""
    batch = np.stack([prepare_input(golden_picture(seed), student.input) for seed in GOLDEN_SEEDS])
    rows = tuple(tuple(round(float(value), 5) for value in row) for row in reference(student)(batch))
    return Golden(GOLDEN_SEEDS, GOLDEN_TOLERANCE, {artifact.file: rows})


def _manifest(student: Finished, card: CardFile, stem: str, plan: Plan, artifact: Artifact) -> Manifest:
    size, macs = costs(student)
    told = student.provenance
    budgets = {
        board.name: Budget(board.budget.p50_ms(student.input.width, student.input.height), board.budget.bundle_bytes)
        for board in plan.boards
        if board.budget is not None
    }
    return Manifest(
        SCHEMA_VERSION, card.name or stem, card.version, student.student, size, macs,
        labels_of(student.labels, card), student.input, (artifact,), _golden(student, artifact),
        Provenance(
            told["teacher"], told["method"], told["recipe"], told["data"], told["metrics"], told["made"],
            told["versions"],
        ),
        card.card, budgets, card.scans,
    )  # fmt: skip


def _weigh(bundle: Bundle, plan: Plan) -> None:
    """Refuse a bundle that is larger than a board of the target allows."""
    for board in plan.boards:
        if board.budget is not None and bundle.bytes > board.budget.bundle_bytes:
            raise BudgetExceeded(
                f"the bundle has {bundle.bytes:,} bytes, {board.name} allows {board.budget.bundle_bytes:,}; "
                "train a smaller --student or choose another --target"
            )


def _line(artifact: Artifact, parity: Parity, held_out: int) -> str:
    accuracy = "" if artifact.accuracy is None else f"validation accuracy {artifact.accuracy:.2%}, "
    return (
        f"{artifact.file} {artifact.precision}: {artifact.bytes:,} bytes, {accuracy}agreement with the student "
        f"{parity.agreement:.2%}, max |Δlogit| {parity.max_difference:.2g} over {held_out} held-out and "
        f"{parity.pictures - held_out} procedural pictures, from encoded bytes"
    )
