"""The parts of the runtime on this board, one by one: bundle, engines, decoders, cameras, sinks, clock, disk."""

import importlib.util
import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdlight_edge.errors import EngineNotReady, MissingPackage
from kdlight_edge.golden import golden_picture
from kdlight_edge.selftest.bench import SETTLED
from kdlight_edge.selftest.outcome import Found, Outcome, Skipped, Wrong, judge

if TYPE_CHECKING:
    from kdlight_edge.bundle import Bundle
    from kdlight_edge.sinks import Sink

FREE_BYTES = 50 << 20
"""On the disk, below which a run of some days has no room for its lines."""

LOSSY = 6.0
"""Mean difference of a grey level, 0 to 255, that JPEG and WebP may make of a golden picture."""

PICTURES = 3 * SETTLED


def check(model: str) -> Iterator[Outcome]:
    """Make every check and yield how it went; those of the bundle first, as nothing is right where that is not."""
    from kdlight_edge.bundle import open_bundle
    from kdlight_edge.engines import ENGINES

    found: list[Bundle] = []

    def bundle() -> Found:
        found.append(open_bundle(model))
        manifest = found[0].manifest
        return Found(f"{manifest.name} {manifest.version}: {len(manifest.artifacts)} files as they were sealed")

    yield judge("bundle", bundle)
    for name in ENGINES if found else ():
        yield judge(f"engine {name}", lambda: _engine(found[0], name))  # noqa: B023 - called before the next turn
    yield judge("decoders", _decoders)
    yield judge("scans", _scans)
    yield judge("camera", _camera)
    yield judge("camera by ffmpeg", _ffmpeg)
    yield judge("sinks", _sinks)
    yield judge("clock", lambda: _clock(found[0] if found else None))
    yield judge("disk", _disk)


def _engine(bundle: "Bundle", name: str) -> Found:
    from kdlight_edge.classifier import Classifier
    from kdlight_edge.decide import Settings
    from kdlight_edge.engines import ENGINES, load
    from kdlight_edge.meter import milliseconds

    said, figures = [], {}
    for artifact in bundle.manifest.artifacts:
        if artifact.format != ENGINES[name][1]:
            continue
        differences: list[float] = []
        try:
            with Classifier(bundle, load(bundle, artifact, engine=name), Settings()) as classifier:
                taken = milliseconds(lambda: differences.append(classifier.verify()))  # noqa: B023 - called here
        except (MissingPackage, EngineNotReady) as error:
            raise Skipped(str(error)) from error
        said.append(f"{artifact.file} differs by {differences[0]:.1g}")
        figures[artifact.file] = {"max_logit_difference": differences[0], "milliseconds": round(taken, 1)}
    if not said:
        raise Skipped(f"the bundle has no file for {name}")
    return Found(f"golden pictures answered as they were: {', '.join(said)}", figures)


def _decoders() -> Found:
    import cv2

    from kdlight_edge.picture import decode

    picture = golden_picture(11)
    bgr: Any = picture[..., ::-1]
    kinds = {".png": 0.0, ".bmp": 0.0, ".tiff": 0.0, ".jpg": LOSSY, ".webp": LOSSY}
    for suffix, allowed in kinds.items():
        _near(suffix, decode(cv2.imencode(suffix, bgr)[1].tobytes()), picture, allowed)
    deep = cv2.imencode(".png", bgr.astype(np.uint16) * 257)[1].tobytes()
    _near("16-bit .png", decode(deep), picture, 0.0)
    return Found(f"{', '.join(kinds)} and 16-bit .png give back a golden picture")


def _near(what: str, decoded: Any, picture: Any, allowed: float) -> None:
    if decoded.shape != picture.shape:
        raise Wrong(f"{what}: {decoded.shape} where {picture.shape} should be")
    difference = float(np.abs(decoded.astype(np.int16) - picture).mean())
    if difference > allowed:
        raise Wrong(f"{what}: differs by {difference:.2f} grey levels, more than {allowed:g}")


def _scans() -> Found:
    if importlib.util.find_spec("pydicom") is None:
        raise Skipped("pydicom is not installed; pip install 'kdlight-edge[dicom]' brings it")
    from pydicom.pixels.decoders.base import get_decoder

    from kdlight_edge.dicom.pixels import shown
    from kdlight_edge.selftest.dicom_fault import scan
    from kdlight_edge.sources.dicom_listener import SYNTAXES

    if shown(scan(1), 0).image.shape != (64, 64, 3):
        raise Wrong("an uncompressed scan does not decode")
    missing = [syntax.name for syntax in SYNTAXES if syntax.is_compressed and not get_decoder(syntax).is_available]
    missing = [name for name in missing if not name.startswith("Deflated")]
    if missing:
        raise Wrong(f"no decoder for {', '.join(missing)}; pip install 'kdlight-edge[dicom]' brings them")
    return Found(f"a scan decodes, and there is a decoder for each of {len(SYNTAXES)} transfer syntaxes")


def _camera() -> Found:
    from kdlight_edge.selftest.camera import Camera

    with Camera() as camera:
        return _read(camera.uri, at_start=False)


def _ffmpeg() -> Found:
    import socket

    if shutil.which("ffmpeg") is None:
        raise Skipped("ffmpeg is not installed; apt-get install ffmpeg brings it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        uri = f"http://127.0.0.1:{free.getsockname()[1]}/"
    pattern = ["-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=20", "-f", "mpjpeg", "-listen", "1", uri]
    camera = subprocess.Popen(["ffmpeg", "-loglevel", "quiet", *pattern], stdin=subprocess.DEVNULL)  # noqa: S603, S607 - a fixed command
    try:
        return _read(uri, at_start=True)
    finally:
        camera.kill()
        camera.wait()


def _read(uri: str, *, at_start: bool) -> Found:
    """Take pictures from a camera and judge their order and age."""
    from kdlight_edge.frame import Frame, Moment
    from kdlight_edge.sources import Patience, open_source

    told: list[str] = []
    source = open_source(uri, Patience(first_wait=0.1, longest_wait=1.0, at_start=at_start, retries=30), told.append)
    ages, indexes, dropped = [], [], 0
    try:
        for item in source:
            if not isinstance(item, Frame):
                raise Wrong(f"a picture does not decode: {item.reason}")
            ages.append((Moment.now().monotonic - item.captured.monotonic) * 1000)
            indexes.append(item.index)
            dropped += item.dropped
            if len(indexes) == PICTURES:
                break
    finally:
        source.close()
    if len(indexes) < PICTURES or indexes != sorted(set(indexes)) or len(indexes) + dropped != indexes[-1] + 1:
        raise Wrong(f"{len(indexes)} pictures and {dropped} dropped, the last with index {indexes[-1:]}; {told[-1:]}")
    age = statistics.median(ages)
    return Found(f"{len(indexes)} pictures in order, {age:.1f} ms old when taken", {"age_ms_median": round(age, 2)})


def _sinks() -> Found:
    from kdlight_edge.chain import verify
    from kdlight_edge.decide import Prediction
    from kdlight_edge.frame import Moment
    from kdlight_edge.sinks.audit import Audit
    from kdlight_edge.sinks.csv import Csv
    from kdlight_edge.sinks.jsonl import JsonLines
    from kdlight_edge.sinks.lines import open_lines
    from kdlight_edge.sinks.rotate import Rotating
    from kdlight_edge.sinks.store import Store

    now = Moment.now()
    with tempfile.TemporaryDirectory(prefix="kdlight-selftest-") as name:
        folder = Path(name)
        audit = folder / "audit.jsonl"
        table = Csv(open_lines(folder / "t.csv", at_once=True))
        sinks: list[Sink] = [JsonLines(Rotating(folder / "lines.jsonl", limit=2000), {}), table, Audit(audit, {})]
        for index in range(PICTURES):
            for sink in sinks:
                sink.write(Prediction("self", index, now, now, "accepted", "", "x", 1.0, (("x", 1.0),)), None)
        for sink in sinks:
            sink.close()
        files = [file for file in folder.glob("lines.jsonl*") if file.suffix != ".last"]
        lines = sum(len(file.read_text().splitlines()) for file in files)
        rows = len((folder / "t.csv").read_text().splitlines()) - 1
        verdict = verify(audit, b"")
        if (lines, rows, verdict.fault) != (PICTURES, PICTURES, ""):
            raise Wrong(f"{lines} lines and {rows} rows of {PICTURES}; audit: {verdict.fault or 'as it was written'}")
        _store(Store(folder / "store.sqlite"))
    return Found(f"{PICTURES} results in JSON lines, CSV, a sealed audit and the store, all read back")


def _store(store: Any) -> None:
    for number in range(PICTURES):
        store.put(str(number))
    held = store.after(0, PICTURES + 1)
    store.take(number for number, _ in held)
    left = len(store)
    store.close()
    if [body for _, body in held] != [str(number) for number in range(PICTURES)] or left:
        raise Wrong("the store does not give back what was put in")


def _clock(bundle: "Bundle | None") -> Found:
    reads = [time.monotonic_ns() for _ in range(10_000)]
    if reads != sorted(reads):
        raise Wrong("the monotonic clock runs backwards")
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    created = bundle.manifest.provenance.made if bundle is not None else ""
    if now < created:
        raise Wrong(
            f"it is {now} here, before the bundle was made ({created}); set the clock: timedatectl set-ntp true"
        )
    step = min((b - a for a, b in itertools.pairwise(reads) if b > a), default=0)
    return Found(f"{now}, monotonic in steps of {step} ns", {"resolution_ns": step})


def _disk() -> Found:
    from kdlight_edge.meter import milliseconds

    free = shutil.disk_usage(Path.cwd()).free
    if free < FREE_BYTES:
        raise Wrong(f"{free / 1e6:.0f} MB free at {Path.cwd()}, less than {FREE_BYTES / 1e6:.0f} MB; make room")
    with tempfile.TemporaryFile() as file:
        taken = sorted(milliseconds(lambda: _write(file.fileno())) for _ in range(20))
    return Found(
        f"{free / 1e9:.1f} GB free, 64 kB are on it after {taken[10]:.1f} ms",
        {"free_bytes": free, "fsync_ms_median": round(taken[10], 2), "fsync_ms_max": round(taken[-1], 2)},
    )


def _write(descriptor: int) -> None:
    os.write(descriptor, bytes(64 << 10))
    os.fsync(descriptor)
