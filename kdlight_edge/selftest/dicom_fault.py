"""Many callers at a DICOM listener, twenty at once, some cut off in the middle of what they say."""

import importlib.util
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kdlight_devices.kernel import sized
from kdlight_edge.selftest.bench import Bench
from kdlight_edge.selftest.child import PATIENCE, infer
from kdlight_edge.selftest.outcome import Found, Skipped, Wrong

CALLERS, AT_ONCE, CUT_EVERY = 100, 20, 5
"""Associations, how many at a time, and which of them are cut off."""

ATTEMPTS = 50
"""A caller that is told to come later (too many callers, no room in the queue) does, as scanners do."""

MEMORY = 64 << 20
"""Bytes by which the memory may have grown after the second half of the callers."""


def dicom(bench: Bench, callers: int = CALLERS) -> Found:
    """Send objects over many associations; each one that was not cut off is answered and acknowledged."""
    if importlib.util.find_spec("pynetdicom") is None:
        raise Skipped("pynetdicom is not installed; pip install 'kdlight-edge[dicom]' brings it")
    listener = f"dicom://127.0.0.1:0?associations={AT_ONCE + callers // CUT_EVERY}&queue={AT_ONCE}"
    with infer(listener, bench.model) as run:
        port = run.port("listening on")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            half = list(pool.map(lambda number: _call(port, number), range(callers // 2)))
            before = _rss(run.process.pid)
            half += pool.map(lambda number: _call(port, number), range(callers // 2, callers))
        grown = _rss(run.process.pid) - before
        stored, unheard = sum(done for done, _ in half), sum(count for _, count in half)
        run.wait(lambda: len(run.records) >= stored, f"a result for each of {stored} objects")
        run.stop()
    answered = len({record["scan"]["instance"] for record in run.records})
    if not answered == stored == callers - callers // CUT_EVERY or len(run.records) > stored + unheard:
        raise Wrong(
            f"{stored} objects were acknowledged and {answered} answered, in {len(run.records)} lines, of {callers} "
            f"callers, who sent {unheard} again as they heard nothing"
        )
    if grown > MEMORY:
        raise Wrong(f"the memory grew by {grown / 1e6:.0f} MB over {callers // 2} callers")
    return Found(
        f"{callers} callers, {AT_ONCE} at once, {callers - stored} cut off: {stored} answered and acknowledged",
        {"callers": callers, "stored": stored, "rss_growth_bytes": grown},
    )


def _call(port: int, number: int) -> tuple[bool, int]:
    """Send one object; or, as every fifth caller, break off in the middle of the association.

    Returns whether it was acknowledged, and how often nothing was heard of it, so that it may have been answered more
    than once: on a busy machine pynetdicom loses a status, which the loop of an association takes from its sender.
    """
    if number % CUT_EVERY == 0:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            # A request for an association (PS3.8, 9.3.2) that promises 255 bytes and sends 30.
            connection.sendall(b"\x01\x00\x00\x00\x00\xff" + bytes(number % 30))
        return False, 0
    from pynetdicom import AE

    entity = AE()
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE
    sent = scan(number)
    entity.add_requested_context(sent.SOPClassUID, sent.file_meta.TransferSyntaxUID)
    unheard = 0
    for _ in range(ATTEMPTS):
        association = entity.associate("127.0.0.1", port)
        if association.is_established:
            status = association.send_c_store(sent)
            association.release()
            if status and status.Status == 0:
                return True, unheard
            unheard += not status
    return False, unheard


def scan(number: int) -> Any:
    """Return a small secondary capture of noise, a pydicom ``Dataset`` without a name."""
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    found.StudyInstanceUID, found.SeriesInstanceUID = generate_uid(), generate_uid()
    found.PatientName = found.PatientID = "SELFTEST"
    found.Modality, found.Rows, found.Columns, found.SamplesPerPixel = "OT", 64, 64, 1
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 8, 8, 7, 0
    found.PhotometricInterpretation = "MONOCHROME2"
    noise = np.random.default_rng(number).integers(0, 256, (64, 64), np.uint8)
    found.add_new("PixelData", "OB", noise.tobytes())
    return found


def _rss(process: int) -> int:
    return sized(Path(f"/proc/{process}/status"), "VmRSS") or 0
