"""Identifiers of people and their scans, told only as keyed hashes: equal ones can be matched, none can be read."""

import hashlib
import hmac
import secrets
from pathlib import Path

from kdlight_edge.errors import UsageError

SHORTEST_KEY = 16
"""Bytes of a key file at least; ``openssl rand -out key 32`` makes a good one."""

SHOWN = 32
"""Hexadecimal digits of a hash that are told: 128 bits, beyond accidental equality."""


class Identity:
    """Hashes identifiers with HMAC-SHA256 (RFC 2104).

    A hash without a key would hide nothing: identifiers of patients are short numbers that can all be tried.
    """

    def __init__(self) -> None:
        """Begin with a random key: hashes match within this run and nowhere else."""
        self._key = secrets.token_bytes(32)

    def use(self, file: Path) -> None:
        """Take the key from a file, so that hashes match from run to run.

        Raises:
            UsageError: it cannot be read, or is shorter than `SHORTEST_KEY` bytes.
        """
        try:
            key = file.read_bytes()
        except OSError as error:
            raise UsageError(f"--identity-key {file} cannot be read: {error.strerror}") from error
        if len(key) < SHORTEST_KEY:
            raise UsageError(
                f"--identity-key {file} holds {len(key)} bytes, {SHORTEST_KEY} are the least; "
                f"make one: openssl rand -out {file} 32"
            )
        self._key = key

    def share(self) -> bytes:
        """Return the key, for another process of the same run."""
        return self._key

    def take(self, key: bytes) -> None:
        """Go on with the key of another process of the same run."""
        self._key = key

    def hashed(self, kind: str, value: object) -> str | None:
        """Return the hash of an identifier in hexadecimal, or None where there is no value.

        Args:
            kind: of identifier, hashed with it: a patient's number never equals a study's.
            value: as it stands in the file; blanks at its ends mean nothing in DICOM (PS3.5, 6.2).
        """
        text = "" if value is None else str(value).strip(" \0")
        if not text:
            return None
        content = f"{kind}\0{text}".encode("utf-8", "backslashreplace")
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()[:SHOWN]


RUN = Identity()
"""One key a run, for all its sources: the same patient has the same hash on every camera and listener."""
