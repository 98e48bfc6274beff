"""`export` as a function: build beside the place, compare from bytes, weigh, and only then put the bundle there."""

import dataclasses
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from kdlight_devices.fingerprint import describe, fingerprint
from kdlight_edge.bundle import Bundle, write_bundle
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Settings, first_log_odds, softmax
from kdlight_edge.engines import load
from kdlight_edge.errors import BudgetExceeded
from kdlight_edge.golden import golden_picture
from kdlight_edge.manifest import SCHEMA_VERSION, Artifact, Budget, Golden, Input, Manifest, Provenance, Trial, Trials
from kdlight_edge.prepare import prepare_input
from kdlight_export.candidates import Candidate, candidates
from kdlight_export.card import CardFile, check_out, labels_of
from kdlight_export.gate import Measured, judge, preference, race, table
from kdlight_export.onnx_from_student import Finished, costs, onnx_from_student, open_run, reference
from kdlight_export.parity import LEAST_PICTURES, Proof, compare, gather, require
from kdlight_export.plan import Plan
from kdlight_export.refit import refit
from kdlight_export.run_pictures import run_pictures
from kdlight_export.sensitivity import fit_answers, shortfalls
from kdlight_export.tensorrt_from_onnx import tensorrt_from_onnx, told_here, trial_of
from kdlight_export.usual import with_usual
from kdlight_train.kept import HELD_OUT

GOLDEN_SEEDS = tuple(range(1, 9))

GOLDEN_TOLERANCE = 0.05
"""Largest |Δlogit| allowed on a device: processors round resizes and sums differently, by a hundredth at most."""

Rows = tuple[tuple[float, ...], ...]


def export(run: Path, out: Path, plan: Plan, *, card: CardFile) -> Iterator[str]:
    """Build a bundle from a finished training; yields what was found, a line at a time.

    Raises:
        DataError: RUN is not finished, or INT8 is forced and there is nothing to calibrate on.
        UsageError: the card or the name cannot be.
        ParityError: an artifact answers differently from the student.
        BudgetExceeded: the bundle is larger than a board of the target allows.
        BundleError: it cannot be written.
    """
    check_out(out, card)
    student = open_run(run)
    labels = labels_of(student.labels, card)
    content = onnx_from_student(student, card.name or out.stem)
    left_out: list[str] = []
    built, failed = candidates(student, content, labels, plan, run, card.name or out.stem, left_out.append)
    manifest = _manifest(student, card, out.stem, plan, [one.artifact for one in built])
    pictures = run_pictures(run, HELD_OUT, student.labels, student.input, left_out.append)
    yield from dict.fromkeys(left_out)  # what is tried again for another format is told again
    proof = gather(pictures, GOLDEN_SEEDS, student.input, reference(student))
    with tempfile.TemporaryDirectory(prefix="kdlight-export-") as folder:
        trial = write_bundle(Path(folder) / out.name, manifest, _files(built))
        measured, golden = _measure(trial, built, proof)
    require(measured[0].parity, "fp32", measured[0].file)
    trials = [*judge(measured, labels, plan), *failed]
    kept, short = _settle(measured, trials, student, proof, plan, manifest)
    engines = tensorrt_from_onnx([one for one in kept if one.source], student.input, plan.compute_capabilities)
    kept, trials = [*engines, *kept], [*trials, *(trial_of(one, plan.compute_capabilities) for one in engines)]
    manifest = dataclasses.replace(
        manifest,
        artifacts=tuple(one.artifact for one in kept),
        golden=_golden(manifest.golden, kept, golden),
        trials=_trials(trials, proof, plan),
    )
    with tempfile.TemporaryDirectory(prefix="kdlight-export-") as folder:
        _weigh(write_bundle(Path(folder) / out.name, manifest, _files(kept)), plan)
    bundle = write_bundle(out, manifest, _files(kept))
    yield from _told(bundle, trials, proof, plan)
    yield from short


def _measure(bundle: Bundle, built: Sequence[Candidate], proof: Proof) -> tuple[list[Measured], dict[str, Rows]]:
    """Compare each candidate, on one thread, with the student; race what runs as it is; and keep golden logits."""
    labels = [label.id for label in bundle.manifest.labels]
    golden_batch = _golden_batch(bundle.manifest.input)
    with ExitStack() as stack:
        engines = [stack.enter_context(load(bundle, one.artifact, engine=one.engine, threads=1)) for one in built]
        parities = [compare(engine, labels, proof) for engine in engines]
        golden = {
            one.artifact.file: _rows(engine.run(golden_batch).logits)
            for one, engine in zip(built, engines, strict=True)
        }
        taken = iter(race([one for one, of in zip(engines, built, strict=True) if not of.source], proof.batch[0]))
        times = [math.nan if one.source else next(taken) for one in built]
    return [Measured(*entry) for entry in zip(built, parities, times, strict=True)], golden


def _settle(
    measured: Sequence[Measured],
    trials: Sequence[Trial],
    student: Finished,
    proof: Proof,
    plan: Plan,
    manifest: Manifest,
) -> tuple[list[Candidate], list[str]]:
    """Return what goes into the bundle, in order of preference, with its figures and its own thresholds.

    With it a line for each class that a file finds less often than the card promises.
    """
    exact, by_file = measured[0].parity, {one.file: one for one in measured}
    settled, short = [], []
    for file in preference(trials, plan.int8, {one.file for one in measured if one.candidate.source}):
        one = by_file[file]
        artifact, parity = one.candidate.artifact, one.parity
        temperature, thresholds = artifact.temperature, artifact.thresholds
        if one is not measured[0]:
            temperature, thresholds = refit(exact, parity, proof.truth, student.temperature, thresholds)
        seen = softmax(parity.logits, temperature), proof.truth, manifest.labels
        if len(proof.truth) >= LEAST_PICTURES:
            thresholds = dataclasses.replace(thresholds, answer=fit_answers(*seen))
        short += [f"{file} {line}" for line in shortfalls(*seen, thresholds.answer)]
        artifact = dataclasses.replace(
            artifact, temperature=temperature, thresholds=thresholds, accuracy=parity.accuracy,
            agreement=parity.agreement, max_logit_difference=parity.max_difference,
        )  # fmt: skip
        settled.append(dataclasses.replace(one.candidate, artifact=with_usual(artifact, manifest, parity)))
    return settled, short


def _golden(known: Golden, kept: Sequence[Candidate], seen: dict[str, Rows]) -> Golden:
    """Return the golden logits: the float files' are the student's own, an 8-bit file's are what it gave here.

    Another processor may round 8-bit sums otherwise, and still be as near to the student's as 8 bits are: two files
    that are lie no further from one another than twice that (`_allowed`).
    """
    rows = next(iter(known.logits.values()))
    # An engine that is built elsewhere must answer as its ONNX file did here.
    seen = {**seen, **{one.artifact.file: seen[one.made_of] for one in kept if one.made_of}}
    logits = {one.artifact.file: seen[one.artifact.file] if one.artifact.precision == "int8" else rows for one in kept}
    eight = [one.artifact for one in kept if one.artifact.precision == "int8"]
    return Golden(
        GOLDEN_SEEDS,
        GOLDEN_TOLERANCE,
        logits,
        {one.file: _allowed(rows, logits[one.file], one.max_logit_difference or 0) for one in eight},
        {one.artifact.file: first_log_odds(logits[one.artifact.file], one.artifact.temperature) for one in kept},
    )


def _allowed(student: Rows, rows: Rows, furthest: float) -> float:
    """Return the tolerance of an 8-bit file: twice its largest |Δlogit| on the golden pictures themselves.

    Of ``furthest``, over all pictures of the proof, it is no more: one odd picture that 8 bits move far would let pass
    what answers the golden ones with the labels exchanged.
    """
    moved = float(np.abs(np.subtract(rows, student)).max())
    return max(GOLDEN_TOLERANCE, round(min(2 * moved, furthest), 4))


def _rows(logits: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> Rows:
    return tuple(tuple(round(float(value), 5) for value in row) for row in logits)


def _golden_batch(spec: Input) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.stack([prepare_input(golden_picture(seed), spec) for seed in GOLDEN_SEEDS])


def _files(chosen: Sequence[Candidate]) -> dict[str, bytes]:
    return {name: content for one in chosen for name, content in one.files.items()}


def _trials(trials: Sequence[Trial], proof: Proof, plan: Plan) -> Trials:
    return Trials(describe(fingerprint()), len(proof.truth), plan.max_drop, plan.int8, tuple(trials))


def _told(bundle: Bundle, trials: Sequence[Trial], proof: Proof, plan: Plan) -> Iterator[str]:
    """Tell what was measured, replaying the golden pictures on every file of the finished bundle."""
    here = fingerprint()
    if here["board"] not in {board.name for board in plan.boards}:
        yield f"times were measured on this machine ({here['board']}), which is no board of --target {plan.target}"
    held_out = len(proof.truth)
    procedural = f"{len(proof.batch) - held_out} procedural pictures ({', '.join(proof.kinds)})"
    yield f"{held_out} held-out and {procedural}, from encoded bytes, one thread:"
    if not any("DICOM" in kind for kind in proof.kinds):
        yield "no DICOM among them: pip install 'kdlight-edge[dicom]' lets scans be part of the proof"
    unseen = [label.id for place, label in enumerate(bundle.manifest.labels) if place not in proof.truth]
    if held_out and unseen:
        yield f"no held-out picture of {', '.join(unseen)}: how other files than fp32 answer those was not judged"
    yield from table(trials)
    for artifact in bundle.manifest.artifacts:
        if artifact.format == "tensorrt":
            yield told_here(bundle, artifact)
            continue
        engine = next(trial.engine for trial in trials if trial.file == artifact.file)
        with Classifier(bundle, load(bundle, artifact, engine=engine), Settings()) as classifier:
            yield f"golden pictures of {artifact.file} on {engine}: max |Δlogit| {classifier.verify():.2g}"
    yield f"bundle {bundle.bytes:,} bytes; {bundle.manifest.artifacts[0].file} is preferred"


def _manifest(student: Finished, card: CardFile, stem: str, plan: Plan, artifacts: Sequence[Artifact]) -> Manifest:
    size, macs = costs(student)
    told = student.provenance
    budgets = {
        board.name: Budget(board.budget.p50_ms(student.input.width, student.input.height), board.budget.bundle_bytes)
        for board in plan.boards
        if board.budget is not None
    }
    rows = _rows(reference(student)(_golden_batch(student.input)))
    golden = Golden(GOLDEN_SEEDS, GOLDEN_TOLERANCE, {artifact.file: rows for artifact in artifacts})
    return Manifest(
        SCHEMA_VERSION, card.name or stem, card.version, student.student, size, macs,
        labels_of(student.labels, card), student.input, tuple(artifacts), golden,
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
