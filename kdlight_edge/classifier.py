"""A bundle at work: pictures in, predictions out, proved on its golden pictures before the first answer."""

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.decide import Prediction, Settings, decide, first_log_odds, refused
from kdlight_edge.dicom.suited import unsuited
from kdlight_edge.engines import Engine, Outputs, open_told
from kdlight_edge.errors import EngineNotReady, ParityError
from kdlight_edge.frame import Frame
from kdlight_edge.golden import golden_picture
from kdlight_edge.manifest import Artifact
from kdlight_edge.prepare import prepare
from kdlight_edge.quality import Quality
from kdlight_edge.sources import tell
from kdlight_edge.successor import Successor, build_now, buildable, wanted

ROUNDED = 1e-4
"""Slack of golden log-odds, which are written to five places."""


class Classifier:
    """An opened bundle with its engine. Thread-safe; an engine that is not (`Engine.concurrent`) is asked in turn."""

    def __init__(self, bundle: Bundle, engine: Engine, settings: Settings, fallback: str | None = None) -> None:
        """Take an engine of the bundle; ``fallback`` tells why it is not the one that the bundle prefers."""
        self.bundle = bundle
        self.engine = engine
        self.settings = settings
        self.successor: Successor | None = None
        """Takes over between two pictures; only for a run whose pictures one thread classifies."""
        self._retired: list[Engine] = []
        self._turn = _turn(engine)
        """Golden pictures may be replayed by another thread than the one that classifies."""
        manifest, artifact = bundle.manifest, engine.artifact
        self.origin: dict[str, Any] = {
            "engine": engine.name,
            "precision": artifact.precision,
            "fallback": fallback,
            "bundle": {"name": manifest.name, "version": manifest.version, "digest": manifest.digest[:16]},
            "throttled": None,
        }
        """What is the same for every line of a run, for `decide.to_record`; ``throttled`` follows the board, and the
        engine's keys change when a `successor` takes over."""

    def classify(self, frame: Frame, quality: Quality | None = None) -> Prediction:
        """Classify one frame, with the time of each stage; a scan that the bundle was not made for is an ``error``.

        ``quality`` is of its source, where pictures that cannot be judged are to be abstained from.
        """
        if "scan" in frame.meta and (reason := unsuited(frame.meta["scan"], self.bundle.manifest.scans)):
            return refused(frame, reason)
        if self.successor is not None:
            self._hand_over(self.successor)
        started = time.perf_counter()
        batch = prepare(frame.image, self.bundle.manifest, frame.full)[np.newaxis]
        unfit = "" if quality is None else quality.look(batch[0])
        prepared = time.perf_counter()
        with self._turn:
            outputs = self.engine.run(batch)
        finished = time.perf_counter()
        stages = {"prepare": (prepared - started) * 1000, "infer": (finished - prepared) * 1000}
        if "decode_ms" in frame.meta:
            stages = {"decode": frame.meta["decode_ms"], **stages}
        manifest = self.bundle.manifest
        row = outputs.logits[0], float(outputs.outlier[0])
        return decide(frame, *row, manifest, self.engine.artifact, self.settings, stages, unfit)

    def outputs(self, images: Iterable[npt.NDArray[np.uint8]], *, cam: bool = False) -> Outputs:
        """Run decoded pictures, uint8 [h, w, 3] RGB of any size, as one batch."""
        batch = np.stack([prepare(image, self.bundle.manifest) for image in images])
        with self._turn:
            return self.engine.run(batch, cam=cam)

    def verify(self) -> float:
        """Replay the golden pictures on this engine.

        Returns:
            The largest |Δlogit| seen.

        Raises:
            ParityError: it is above the manifest's tolerance, or the temperature is not the one that was fitted: this
                engine must not serve.
        """
        with self._turn:
            return self.prove(self.engine)

    def prove(self, engine: Engine) -> float:
        """As `verify`, for an engine that does not serve yet."""
        golden, artifact = self.bundle.manifest.golden, engine.artifact
        self._verify_temperature(artifact)
        pictures = np.stack([prepare(golden_picture(seed), self.bundle.manifest) for seed in golden.seeds])
        seen = engine.run(pictures).logits
        difference = float(np.abs(seen - np.asarray(golden.logits[artifact.file], np.float32)).max())
        allowed = golden.allowed(artifact.file)
        if not difference <= allowed:
            raise ParityError(
                f"{engine.name} answers the golden pictures of {artifact.file} with logits off by "
                f"{difference:.3g} (allowed {allowed:g}); do not use it here, export the bundle again"
            )
        return difference

    def _verify_temperature(self, artifact: Artifact) -> None:
        """Calibrate the golden logits as `decide` does and compare with what the export got."""
        golden = self.bundle.manifest.golden
        expected = golden.log_odds.get(artifact.file)
        if expected is None:
            return  # a bundle that is older than this check
        found = first_log_odds(golden.logits[artifact.file], artifact.temperature)
        if not np.allclose(found, expected, rtol=ROUNDED, atol=ROUNDED):
            raise ParityError(
                f"the temperature {artifact.temperature:g} of {artifact.file} does not make the golden log-odds "
                "of its golden logits; do not use it, export the bundle again"
            )

    def _hand_over(self, successor: Successor) -> None:
        """Let the new engine answer from this picture on, if it is ready."""
        engine = successor.take()
        if engine is None:
            return
        # Another thread may be replaying golden pictures on the old one: it is closed at the end.
        self._retired.append(self.engine)
        before = self.origin["engine"]
        self.engine, self._turn = engine, _turn(engine)
        self.origin.update(engine=engine.name, precision=engine.artifact.precision, fallback=None)
        tell(f"{engine.name} {engine.artifact.precision} takes over from {before}: its golden pictures passed")

    def __enter__(self) -> "Classifier":
        return self

    def __exit__(self, *_: object) -> None:
        if self.successor is not None:
            self.successor.close()
        for engine in (*self._retired, self.engine):
            engine.__exit__(None, None, None)


def _turn(engine: Engine) -> contextlib.AbstractContextManager[object]:
    return contextlib.nullcontext() if engine.concurrent else threading.Lock()


def open_classifier(
    path: str | os.PathLike[str],
    *,
    engine: str = "auto",
    threads: int = 0,
    settings: Settings | None = None,
    succeed: bool = False,
) -> Classifier:
    """Open a bundle, load its engine and replay the golden pictures on it.

    A TensorRT engine that is asked for by name and was not built here yet is built first, which takes a minute.

    Args:
        path: of the bundle.
        engine: see `open_engine`.
        threads: see `open_engine`.
        settings: of the decisions.
        succeed: where the bundle prefers a TensorRT engine that is not built here yet, or that is of another machine,
            build it in the background and change over to it.

    Raises:
        BundleError: see `open_bundle` and `open_engine`.
        ParityError: the engine answers differently from the student.
    """
    bundle = open_bundle(path)
    try:
        opened, fallback = open_told(bundle, engine=engine, threads=threads)
    except EngineNotReady:
        if engine != "tensorrt" or not buildable(bundle):
            raise
        build_now(bundle)
        opened, fallback = open_told(bundle, engine=engine, threads=threads)
    classifier = Classifier(bundle, opened, settings or Settings(), fallback)
    try:
        classifier.verify()
    except BaseException:
        classifier.__exit__(None, None, None)  # nobody else has the engine, and what it holds of a GPU
        raise
    artifact = wanted(bundle)
    if succeed and engine == "auto" and fallback is not None and artifact is not None and buildable(bundle):
        tell(f"{fallback}; it is built in the background, {opened.name} answers until then")
        classifier.successor = Successor(bundle, artifact, classifier.prove, tell)
    return classifier
