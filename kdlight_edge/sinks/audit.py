"""Every decision in a file of sealed lines, which shows when a line was edited, removed or moved."""

import os
from collections.abc import Mapping
from typing import Any

from kdlight_edge import __version__
from kdlight_edge.chain import last_link, seal
from kdlight_edge.decide import Prediction, to_record, utc
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.rotate import Rotating


class Audit:
    """Goes on with the chain in the file; beside the predictions it notes when a run began and ended."""

    wants_frames = False

    def __init__(
        self, path: str | os.PathLike[str], origin: Mapping[str, Any], *, key: bytes = b"", rotate: int = 0
    ) -> None:
        """Open the file and note the beginning of the run.

        Args:
            path: of the file; full ones stand beside it and are never removed.
            origin: what is the same for every line of the run (`Classifier.origin`).
            key: seals with HMAC; empty without.
            rotate: bytes after which the next file begins; 0 never.

        Raises:
            KDLightError: it cannot be written, or its end was not sealed with this key.
        """
        self._origin, self._key = origin, key
        self._lines = Rotating(path, limit=rotate)
        self._closed = False
        try:
            self._last = last_link(self._lines.path, key)
            said = {"event": "begin", "program": f"kdlight-edge {__version__}", "seal": "hmac" if key else "sha256"}
            # A torn line is cut off here, so that the chain goes on; that it was there stays known.
            self._put({**said, "utc": utc(Moment.now()), "torn_bytes_cut": self._lines.torn, **origin})
        except BaseException:
            self._lines.close()
            raise

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Seal one line and write it."""
        del frame
        self._put(to_record(prediction, self._origin))

    def missed(self, lost: Mapping[str, int]) -> None:
        """Seal a line that says how many results are missing before the next, by reason."""
        self._put({"event": "gap", "utc": utc(Moment.now()), "lost": dict(lost)})

    def _put(self, record: Mapping[str, Any]) -> None:
        line, link = seal(self._last, record, self._key)
        self._lines.write(line)
        self._last = link

    def close(self) -> None:
        """Note the end of the run and let go."""
        if self._closed:
            return
        self._closed = True
        try:
            self._put({"event": "close", "utc": utc(Moment.now())})
        finally:
            self._lines.close()
