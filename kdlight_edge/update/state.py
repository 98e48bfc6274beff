"""The folder of a device's versions: which one serves is one symbolic link, changed by one rename."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from kdlight_edge import durable
from kdlight_edge.bundle import open_bundle
from kdlight_edge.engines.tensorrt_plan import prune_engines
from kdlight_edge.errors import BundleError, KDLightError
from kdlight_edge.update import ledger
from kdlight_edge.update.ledger import Last, Ledger

SCHEMA_STATUS = "kdlight-edge/update-status/1"

NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
"""Names and versions of bundles that become names of folders."""


class Named(Protocol):
    """What a bundle is told by: its manifest, or what a repository says of it."""

    @property
    def name(self) -> str: ...  # noqa: D102 - see the manifest
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102


class State:
    """A state folder: ``current`` leads to ``versions/NAME-VERSION-DIGEST``; ``update/`` holds the rest."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; it need not be there yet."""
        self.folder = folder
        self.link = folder / "current"
        self.versions = folder / "versions"
        self.own = folder / "update"
        self.incoming = self.own / "incoming"
        self.trust = self.own / "trust"
        self.asked = self.own / "asked"
        """A file whose appearance starts an update, by the ``.path`` unit."""
        self.shadow_request = self.own / "shadow.json"
        self.shadow_answer = self.own / "shadow-answer.json"
        self.alive = self.own / "alive.lock"
        """Held by the service while it runs."""
        self._ledger = self.own / "ledger.json"
        self._running = self.own / "running.json"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            KDLightError: it may not be written to, or its disk is read-only.
        """
        try:
            for folder in (self.versions, self.own):
                folder.mkdir(parents=True, exist_ok=True)
            durable.sync(self.folder)
            if not os.access(self.own, os.W_OK) or not os.access(self.versions, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            if self._read_only():
                raise KDLightError(
                    f"{self.folder} lies on a disk that is read-only, as the system makes one that fails (see dmesg); "
                    "replace the card, or mount -o remount,rw"
                ) from error
            raise KDLightError(
                f"{self.folder} cannot be written to ({error.strerror}); run it as root, or give another --state"
            ) from error

    def _read_only(self) -> bool:
        for place in (self.folder, *self.folder.absolute().parents):
            with contextlib.suppress(OSError):
                return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
        return False

    def current(self) -> str | None:
        """Return the version that the link leads to; None without one, and for a link to anything else."""
        try:
            target = Path(os.readlink(self.link))  # noqa: PTH115 - the text of the link itself
        except OSError:
            return None
        return target.name if target.parts[:-1] == ("versions",) else None

    def path(self, version: str) -> Path:
        """Return where a version lies."""
        return self.versions / version

    def whole(self) -> set[str]:
        """Return the versions that lie here."""
        with contextlib.suppress(OSError):
            return {entry.name for entry in self.versions.iterdir() if not entry.name.startswith(".")}
        return set()

    def switch(self, version: str | None) -> None:
        """Let a version serve from the next start on; None for the bundle installed with the service."""
        if version is None:
            durable.remove(self.link)
        else:
            durable.point(self.link, f"versions/{version}")

    def ledger(self) -> Ledger:
        """Read the ledger."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return ledger.read(self._ledger.read_text(encoding="utf-8"))
        return Ledger()

    def change(self, to: Callable[[Ledger], Ledger], what: str = "", version: str = "", reason: str = "") -> Ledger:
        """Change the ledger, alone among processes; with ``what`` also what happened last."""
        with durable.locked(self.own / "ledger.lock"):
            before = self.ledger()
            after = to(before)
            if what:
                after = dataclasses.replace(after, last=Last(now(), what, version, reason))
            if after != before:
                durable.write_text(self._ledger, ledger.to_text(after))
        return after

    def roll_back(self, reason: str) -> str | None:
        """Let the good version before the present one serve; return it, None for the one installed with the service.

        The ledger comes first: cut off after it, the link still leads to the failed version, and the next start sees
        that and goes on from here.
        """
        version = self.current() or ""
        told = self.change(lambda old: ledger.rolled_back(old, version), "rolled back", version, reason)
        there = self.whole()
        good = next((other for other in told.good if other in there), None)
        self.switch(good)
        return good

    def prune(self) -> None:
        """Remove versions that nothing needs any more, and the engines that were built of them alone."""
        book = self.ledger()
        kept = {self.current(), *book.good, book.probation.version if book.probation else None}
        for version in self.whole() - kept:
            shutil.rmtree(self.path(version), ignore_errors=True)
        prune_engines(self.folder, self._files())

    def _files(self) -> set[str]:
        """Return the SHA-256 of the files of every bundle that serves, may serve again or is being tried.

        One that cannot be opened can serve no more, and counts for nothing.
        """
        factory = (self.running() or {}).get("factory")
        places = [*map(self.path, self.whole()), self.incoming / "bundle.kdl", *([Path(factory)] if factory else [])]
        found: set[str] = set()
        for place in places:
            with contextlib.suppress(KDLightError, OSError):
                for artifact in open_bundle(place).manifest.artifacts:
                    found |= {artifact.sha256, *(part.sha256 for part in artifact.parts)}
        return found

    def tell_running(self, record: dict[str, Any]) -> None:
        """Leave word of what serves, for an update beside it."""
        durable.write_text(self._running, json.dumps({"pid": os.getpid(), **record}) + "\n")

    def running(self) -> dict[str, Any] | None:
        """Return what the service said of itself at its last start; ``alive`` tells whether it still runs."""
        try:
            told: dict[str, Any] = json.loads(self._running.read_text(encoding="utf-8"))
            told["alive"] = _alive(self.alive)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return told


def version_of(bundle: Named) -> str:
    """Return the folder's name of a bundle: NAME-VERSION-DIGEST.

    Raises:
        BundleError: name or version cannot be in one.
    """
    for what, text in (("name", bundle.name), ("version", bundle.version)):
        if not NAMED.fullmatch(text):
            raise BundleError(f"the bundle's {what} {text!r} cannot name a folder; use letters, digits, . _ + and -")
    return f"{bundle.name}-{bundle.version}-{bundle.digest[:16]}"


def now() -> str:
    """Return the UTC time, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _alive(lock: Path) -> bool:
    """Tell whether the service runs: it holds a lock, which no other process can inherit as it can a number."""
    try:
        with durable.locked(lock, "held"):
            return False
    except KDLightError:
        return True
