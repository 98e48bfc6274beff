"""Answers as Parquet: a folder of whole files that grows, tells what it holds, and belongs to one bundle."""

import contextlib
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

from kdlight_edge.durable import lock
from kdlight_edge.errors import BundleError, KDLightError

SCHEMA = "kdlight-edge/archive/1"

COLUMNS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("probability", pa.float64()),
        pa.field("top", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())]))),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("outlier", pa.float64()),
        pa.field("decode_ms", pa.float64()),
        pa.field("prepare_ms", pa.float64()),
        pa.field("infer_ms", pa.float64()),
        pa.field("decided", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("precision", pa.string(), nullable=False),
        pa.field("bundle", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("scan", pa.string()),
    ]
)
"""The columns of every file; docs/archive.md tells them."""

ROWS = 50_000
"""Rows that are held at most before a file is written."""

FIRST, LONGEST = 1.0, 30.0
"""Seconds of answers in the first file of a run and, doubling, in the later ones: what an abrupt end costs at most."""

_NAME = "part-*.parquet"
_META = b"kdlight-edge"


@dataclass(frozen=True, slots=True)
class Held:
    """What lies in a folder."""

    keys: frozenset[str]
    decisions: Mapping[str, int]
    """Rows by decision."""


class Parts:
    """Writes answers into a folder, each file beside its place and then moved there; one process at a time."""

    def __init__(self, folder: Path, origin: Mapping[str, Any]) -> None:
        """Open or make the folder; ``origin`` must be the same in all its files: the archive, the bundle, the settings.

        Raises:
            KDLightError: it cannot be written, or another process does.
            BundleError: its files are another bundle's, or were made otherwise.
        """
        self.folder, self._origin = folder, {"schema": SCHEMA, **origin}
        self._schema = COLUMNS.with_metadata({_META: json.dumps(self._origin)})
        self._tables: list[pa.Table] = []
        self._rows, self._wait = 0, FIRST
        self._written = time.monotonic()
        self.count = 0
        """Files written by this run."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._guard = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise KDLightError(f"{folder} cannot be written: {error.strerror}; choose another --out") from error
        try:
            lock(self._guard)
            for beside in folder.glob(f".{_NAME}"):
                beside.unlink()  # of a run that was killed while it wrote
            self.held = self._look()
            """What was there before this run."""
        except BlockingIOError as error:
            os.close(self._guard)
            raise KDLightError(f"{folder} is being written by another kdlight-edge; let it end") from error
        except BaseException:
            os.close(self._guard)
            raise

    def _look(self) -> Held:
        keys: set[str] = set()
        decisions: Counter[str] = Counter()
        for file in sorted(self.folder.glob(_NAME)):
            try:
                with pq.ParquetFile(file) as opened:
                    self._check(file, opened.schema_arrow.metadata or {})
                    table = opened.read(columns=["key", "decision"])
            except (pa.ArrowException, OSError) as error:
                said = str(error).splitlines()[0][:200]
                raise KDLightError(
                    f"{file} cannot be read ({said}); move it away, its pictures are done again"
                ) from error
            keys.update(table.column("key").to_pylist())
            decisions.update(table.column("decision").to_pylist())
        return Held(frozenset(keys), decisions)

    def _check(self, file: Path, metadata: Mapping[bytes, bytes]) -> None:
        found = json.loads(metadata.get(_META, b"{}"))
        for key, value in self._origin.items():
            if found.get(key) != value:
                raise BundleError(
                    f"{file} has another {key} ({_shown(found.get(key))}) than this run ({_shown(value)}); "
                    "give another --out"
                )

    def add(self, table: pa.Table) -> None:
        """Take the rows of whole files, and write a part once there are many or some time has passed.

        Raises:
            KDLightError: the disk refuses; what was written before is whole.
        """
        self._tables.append(table.cast(self._schema))
        self._rows += table.num_rows
        if self._rows >= ROWS or time.monotonic() - self._written >= self._wait:
            self.flush()

    def flush(self) -> None:
        """Write what is held; raises as `add`."""
        if self._rows:
            self._write(pa.concat_tables(self._tables))
            self._tables, self._rows = [], 0
            self.count += 1
            self._wait = min(self._wait * 2, LONGEST)
        self._written = time.monotonic()

    def _write(self, table: pa.Table) -> None:
        # The time sorts the files for people, the rest keeps two clocks that differ from meeting.
        name = f"part-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}.parquet"
        beside = self.folder / f".{name}"
        try:
            with beside.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            beside.rename(self.folder / name)
        except (OSError, pa.ArrowException) as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            said = getattr(error, "strerror", None) or str(error)
            raise KDLightError(
                f"{self.folder} cannot be written: {said}; make room and run again, it goes on"
            ) from error

    def close(self) -> None:
        """Let go of the folder; safe to call twice."""
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
