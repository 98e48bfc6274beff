"""A bundle at work: pictures in, predictions out, proved on its golden pictures before the first answer."""

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.decide import Prediction, Settings, decide, first_log_odds, refused
from kdlight_edge.dicom.suited import unsuited
from kdlight_edge.engines import Engine, Outputs, open_told
from kdlight_edge.errors import ParityError
from kdlight_edge.frame import Frame
from kdlight_edge.prepare import prepare
from kdlight_edge.quality import Quality
from kdlight_edge.testing import golden_picture

ROUNDED = 1e-4
"""Slack of golden log-odds, which are written to five places."""


class Classifier:
    """An opened bundle with its engine. Thread-safe; an engine that is not (`Engine.concurrent`) is asked in turn."""

    def __init__(self, bundle: Bundle, engine: Engine, settings: Settings, fallback: str | None = None) -> None:
        """Take an engine of the bundle; ``fallback`` tells why it is not the one that the bundle prefers."""
        self.bundle = bundle
        self.engine = engine
        self.settings = settings
        self._turn: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if engine.concurrent else threading.Lock()
        )
        """Golden pictures may be replayed by another thread than the one that classifies."""
        manifest, artifact = bundle.manifest, engine.artifact
        self.origin: dict[str, Any] = {
            "engine": engine.name,
            "precision": artifact.precision,
            "fallback": fallback,
            "bundle": {"name": manifest.name, "version": manifest.version, "digest": manifest.digest[:16]},
            "throttled": None,
        }
        """What is the same for every line of a run, for `decide.to_record`; ``throttled`` follows the board."""

    def classify(self, frame: Frame, quality: Quality | None = None) -> Prediction:
        """Classify one frame, with the time of each stage; a scan that the bundle was not made for is an ``error``.

        Args:
            frame: the picture.
            quality: of its source, where pictures that cannot be judged are to be abstained from.
        """
        if "scan" in frame.meta and (reason := unsuited(frame.meta["scan"], self.bundle.manifest.scans)):
            return refused(frame, reason)
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
        golden, artifact = self.bundle.manifest.golden, self.engine.artifact
        self._verify_temperature()
        seen = self.outputs(golden_picture(seed) for seed in golden.seeds).logits
        difference = float(np.abs(seen - np.asarray(golden.logits[artifact.file], np.float32)).max())
        allowed = golden.allowed(artifact.file)
        if not difference <= allowed:
            raise ParityError(
                f"{self.engine.name} answers the golden pictures of {artifact.file} with logits off by "
                f"{difference:.3g} (allowed {allowed:g}); do not use it here, export the bundle again"
            )
        return difference

    def _verify_temperature(self) -> None:
        """Calibrate the golden logits as `decide` does and compare with what the export got."""
        golden, artifact = self.bundle.manifest.golden, self.engine.artifact
        wanted = golden.log_odds.get(artifact.file)
        if wanted is None:
            return  # a bundle that is older than this check
        found = first_log_odds(golden.logits[artifact.file], artifact.temperature)
        if not np.allclose(found, wanted, rtol=ROUNDED, atol=ROUNDED):
            raise ParityError(
                f"the temperature {artifact.temperature:g} of {artifact.file} does not make the golden log-odds "
                "of its golden logits; do not use it, export the bundle again"
            )

    def __enter__(self) -> "Classifier":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.__exit__(kind, error, trace)


def open_classifier(
    path: str | os.PathLike[str], *, engine: str = "auto", threads: int = 0, settings: Settings | None = None
) -> Classifier:
    """Open a bundle, load its engine and replay the golden pictures on it.

    Raises:
        BundleError: see `open_bundle` and `open_engine`.
        ParityError: the engine answers differently from the student.
    """
    bundle = open_bundle(path)
    opened, fallback = open_told(bundle, engine=engine, threads=threads)
    classifier = Classifier(bundle, opened, settings or Settings(), fallback)
    classifier.verify()
    return classifier
