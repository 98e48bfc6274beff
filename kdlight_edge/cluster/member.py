"""One classifier of a pool: keys of files in, rows of answers out; a bad file is a row that says why."""

import json
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import cv2
import pyarrow as pa

from kdlight_edge import __version__
from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.cluster.job import Job, unpack
from kdlight_edge.cluster.parts import COLUMNS
from kdlight_edge.cluster.shelf import Shelf, is_picture
from kdlight_edge.decide import Prediction, Settings, failed, rounded
from kdlight_edge.dicom.identity import RUN
from kdlight_edge.dicom.magic import MAGIC
from kdlight_edge.errors import DataError, KDLightError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.picture import decode_reduced
from kdlight_edge.prepare import need_of


class Member:
    """Opens the bundle with one thread, as the pool takes the cores, and proves it on its golden pictures."""

    def __init__(self, job: Job) -> None:
        """Take the job.

        Raises:
            KDLightError: another version of this program, a folder that this machine cannot see, or as
                `open_classifier`.
        """
        if job.version != __version__:
            raise KDLightError(
                f"the cluster has kdlight-edge {__version__} and this machine {job.version}; install the same on both"
            )
        cv2.setNumThreads(1)
        RUN.take(job.identity)
        self._shelf = Shelf(job.folder)
        settings = Settings(job.conf, job.topk)
        with tempfile.TemporaryDirectory(prefix="kdlight-") as folder:
            unpack(job.bundle, folder)
            self._classifier = open_classifier(folder, engine=job.engine, threads=1, settings=settings)
        self._need = need_of(self._classifier.bundle.manifest.input)

    def __call__(self, keys: pa.Table) -> pa.Table:
        """Answer the files that a table of ``key`` names, in its order."""
        rows = [row for key in keys.column("key").to_pylist() for row in self.rows(key)]
        return pa.Table.from_pylist(rows, schema=COLUMNS)

    def rows(self, key: str) -> Iterator[dict[str, Any]]:
        """Yield a row a frame of one file; one for a file that cannot be read."""
        number = 0
        try:
            for item in self._frames(key):
                prediction = failed(item) if isinstance(item, Unreadable) else self._classifier.classify(item)
                yield row_of(key, number, prediction, self._classifier)
                number += 1
        except Exception as error:  # noqa: BLE001 - one file must not end the answers for the others of its chunk
            reason = f"a fault of this program: {type(error).__name__}: {error}"
            bad = Unreadable(" ".join(reason.split())[:300], Moment.now(), key, number)
            yield row_of(key, number, failed(bad), self._classifier)

    def _frames(self, key: str) -> Iterator[Frame | Unreadable]:
        captured = Moment.now()
        try:
            content = self._shelf.read(key)
            if content[MAGIC] == b"DICM" and not is_picture(key):
                yield from _scan(content, key, captured)
                return
            started = time.perf_counter()
            image, full = decode_reduced(content, self._need)
        except DataError as error:
            yield Unreadable(str(error), captured, key, 0)
            return
        yield Frame(image, captured, key, 0, 0, {"decode_ms": (time.perf_counter() - started) * 1000}, full)


def _scan(content: bytes, key: str, captured: Moment) -> Iterator[Frame | Unreadable]:
    from kdlight_edge.dicom.scan import frame_of, frames_of, read

    dataset = read(content)
    for number in range(frames_of(dataset)):
        yield frame_of(dataset, number, captured=captured, source=key, index=number, more={})


def row_of(key: str, frame: int, prediction: Prediction, classifier: Classifier) -> dict[str, Any]:
    """Return one row of `parts.COLUMNS`."""
    manifest, stages = classifier.bundle.manifest, prediction.milliseconds or {}
    return {
        "key": key,
        "frame": frame,
        "label": prediction.label,
        "probability": rounded(prediction.probability, 6),
        "top": [{"label": label, "probability": rounded(value, 6)} for label, value in prediction.top],
        "decision": prediction.decision,
        "reason": prediction.reason,
        "error": prediction.reason if prediction.decision == "error" else None,
        "outlier": rounded(prediction.outlier, 4),
        **{f"{stage}_ms": rounded(stages.get(stage), 3) for stage in ("decode", "prepare", "infer")},
        "decided": round(prediction.decided.utc * 1000),
        "engine": classifier.engine.name,
        "precision": classifier.engine.artifact.precision,
        "bundle": f"{manifest.name} {manifest.version}",
        "digest": manifest.digest,
        "scan": None if prediction.scan is None else json.dumps(dict(prediction.scan)),
    }


def lost(key: str, classifier: Classifier) -> pa.Table:
    """Return the row of a file that ends every process that touches it."""
    reason = "the process that read it died, each time: out of memory, or a fault in a decoder"
    prediction = failed(Unreadable(reason, Moment.now(), key, 0))
    return pa.Table.from_pylist([row_of(key, 0, prediction, classifier)], schema=COLUMNS)
