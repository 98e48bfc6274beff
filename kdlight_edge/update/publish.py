"""The publisher's side: a folder that any static server or a stick serves, kept by the roles of The Update Framework.

Four keys: ``root`` says who the others are, ``targets`` what is offered; both are needed by hand and kept offline.
``snapshot`` and ``timestamp`` say that the offer is fresh; they may lie on the machine that refreshes it.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from kdlight_edge import archive, durable
from kdlight_edge.bundle import open_bundle
from kdlight_edge.errors import BundleError, KDLightError, UsageError
from kdlight_edge.signature import make_key, read_signer, sign
from kdlight_edge.update.fetch import days_from_now, order
from kdlight_edge.update.state import version_of

ROLES = ("root", "targets", "snapshot", "timestamp")

DAYS = {"root": 365.0, "targets": 365.0, "snapshot": 30.0, "timestamp": 30.0}
"""How long each role's word holds; the last two by ``--days``."""

RENEWED = 60.0
"""Days before its end at which ``refresh`` renews what root and targets say."""


class Publisher:
    """A repository folder and the folder of its private keys."""

    def __init__(self, folder: Path, keys: Path, days: float = DAYS["timestamp"]) -> None:
        """Take both; ``days`` is how long a refresh holds.

        Raises:
            UsageError: a time that cannot be.
        """
        if not 0 < days <= 3650:  # noqa: PLR2004 - ten years
            raise UsageError(f"--days {days:g} is not between 0 and 3650")
        self.metadata, self.targets, self._keys = folder / "metadata", folder / "targets", keys
        self._folder, self._days = folder, {**DAYS, "snapshot": days, "timestamp": days}

    def create(self) -> Path:
        """Make an empty repository, and the keys that are not there yet; return the first root.

        Raises:
            UsageError: there is a repository.
        """
        # The timestamp comes last: what a full disk left without it was never offered to anybody, and is made anew.
        if any(self.metadata.glob("[!1]*.json")):
            raise UsageError(f"{self._folder} is a repository already; kdlight-edge update publish adds to it")
        for role in ROLES:
            if not (self._keys / f"{role}.key").exists():
                make_key(role, self._keys)
        with self._told():
            for folder in (self.metadata, self.targets):
                folder.mkdir(parents=True, exist_ok=True)
            root = Root(consistent_snapshot=True, expires=days_from_now(DAYS["root"]))
            for role in ROLES:
                root.add_key(self._signer(role).public_key, role)
            self._write("root", Metadata(root), raise_version=False, signers=[self._signer("root")])
            self._write("targets", Metadata(Targets()), raise_version=False)
            self._freshen(first=True)
        return self.metadata / "1.root.json"

    def add(self, model: Path) -> str:
        """Offer a bundle; return its version's name.

        Raises:
            BundleError: it is damaged, or its version cannot be compared.
            UsageError: another bundle of this version is offered already.
        """
        bundle = open_bundle(model)
        manifest = bundle.manifest
        order(manifest.version)
        self._end_rotations()
        name = version_of(manifest)
        told = self._read("targets")
        for path, other in told.signed.targets.items():
            same = other.custom and (other.custom["name"], other.custom["version"]) == (manifest.name, manifest.version)
            if same and path != f"{name}{archive.SUFFIX}":
                raise UsageError(f"{manifest.name} {manifest.version} is offered already as {path}; raise the version")
        with self._told():
            packed = self.targets / f".{name}{archive.SUFFIX}"
            archive.pack(bundle, sign(archive.seal_of(bundle), []), packed)
            target = TargetFile.from_file(f"{name}{archive.SUFFIX}", str(packed))
            target.unrecognized_fields["custom"] = {
                "name": manifest.name, "version": manifest.version, "digest": manifest.digest,
            }  # fmt: skip
            # The content first, then what speaks of it: a reader in between sees the older offer whole.
            packed.replace(self.targets / f"{target.hashes['sha256']}.{target.path}")
            told.signed.targets[target.path] = target
            self._write("targets", told)
            self._freshen()
        return name

    def withdraw(self, name: str) -> None:
        """Offer a version no more; devices that have it keep it.

        Raises:
            UsageError: it is not offered.
        """
        self._end_rotations()
        told = self._read("targets")
        target = told.signed.targets.pop(f"{name}{archive.SUFFIX}", None)
        if target is None:
            offered = ", ".join(path.removesuffix(archive.SUFFIX) for path in told.signed.targets) or "nothing"
            raise UsageError(f"{name} is not offered; there is {offered}")
        with self._told():
            self._write("targets", told)
            self._freshen()
            (self.targets / f"{target.hashes['sha256']}.{target.path}").unlink(missing_ok=True)

    def refresh(self) -> str:
        """Say anew that the offer is fresh; return until when.

        Root and targets are renewed too where they end soon and their keys are here; `ending` tells which still end.

        Raises:
            UsageError: a key that is here does not open; the offer is fresh all the same, where the other two open.
        """
        self._end_rotations()
        try:
            with self._told():
                for role in self.ending():
                    if (self._keys / f"{role}.key").exists():
                        self._write(role, self._read(role))
        finally:
            with self._told():
                until = self._freshen()
        return until

    def ending(self) -> dict[str, str]:
        """Return the ISO date on which the word of root and targets ends, by role, where that is within `RENEWED`."""
        soon = days_from_now(RENEWED).timestamp()
        ends = {role: self._read(role).signed.expires for role in ("root", "targets")}
        return {role: f"{end:%Y-%m-%d}" for role, end in ends.items() if end.timestamp() < soon}

    def rotate(self, role: str) -> Path:
        """Give a role a new key, told by the root; the old one moves to ``ROLE.key.old``, and is to be destroyed.

        A new root is signed by the old and the new key, so that devices follow. The new key waits as ``ROLE.next.key``
        until the root names it: no disk that is full and no cut of power leaves a key that no device can follow.

        Raises:
            UsageError: a key that is needed is not here; nothing has changed.
        """
        self._end_rotations()
        # The word of the role itself needs no old key, which may be lost; a root is believed for its old one only.
        signers = {
            name: self._known(name) for name in ("root", "snapshot", "timestamp") if name != role or role == "root"
        }
        make_key(f"{role}.next", self._keys)
        told = self._read("root")
        with self._told():
            new = read_signer(self._next_key(role))
            for known in tuple(told.signed.roles[role].keyids):
                told.signed.revoke_key(known, role)
            told.signed.add_key(new.public_key, role)
            self._write("root", told, signers=[signers["root"], *([new] if role == "root" else [])])
        self._end_rotations()
        with self._told():
            self._freshen()
        return self._newest("root")

    def _next_key(self, role: str) -> Path:
        return self._keys / f"{role}.next.key"

    def _end_rotations(self) -> None:
        """Put the keys that the root names in their places, and remove those of rotations that never reached it."""
        for role in ROLES:
            new = self._next_key(role)
            if not new.exists():
                continue
            with self._told():
                if not _names(self._read("root").signed, role, new):
                    new.with_suffix(".pub").unlink(missing_ok=True)
                    new.unlink()
                    continue
                if role == "targets":
                    self._write(role, self._read(role), signers=[read_signer(new)])
                for suffix in ("pub", "key"):  # the key last: while it waits, all of this is done again
                    place, waiting = self._keys / f"{role}.{suffix}", new.with_suffix(f".{suffix}")
                    if waiting.exists():
                        if place.exists():
                            place.replace(place.with_name(f"{place.name}.old"))
                        waiting.replace(place)
                durable.sync(self._keys)

    def _freshen(self, *, first: bool = False) -> str:
        """Write snapshot and timestamp of what is there."""
        snapshot = Metadata(Snapshot()) if first else self._read("snapshot")
        snapshot.signed.meta["targets.json"] = MetaFile(version=self._read("targets").signed.version)
        self._write("snapshot", snapshot, raise_version=not first)
        timestamp = Metadata(Timestamp()) if first else self._read("timestamp")
        timestamp.signed.snapshot_meta = MetaFile(version=snapshot.signed.version)
        return self._write("timestamp", timestamp, raise_version=not first)

    def _write(
        self, role: str, told: "Metadata[Any]", *, raise_version: bool = True, signers: Sequence[CryptoSigner] = ()
    ) -> str:
        told.signed.version += raise_version
        told.signed.expires = days_from_now(self._days[role])
        told.signatures.clear()
        for signer in signers or [self._known(role)]:
            told.sign(signer, append=True)
        name = "timestamp.json" if role == "timestamp" else f"{told.signed.version}.{role}.json"
        durable.write_text(self.metadata / name, json.dumps(told.to_dict(), indent=1, sort_keys=True) + "\n")
        (self.metadata / name).chmod(0o644)
        return f"{told.signed.expires:%Y-%m-%d}"

    def _newest(self, role: str) -> Path:
        if role == "timestamp":
            return self.metadata / "timestamp.json"
        files = self.metadata.glob(f"*.{role}.json")
        found = max(files, key=lambda file: int(file.name.split(".")[0]), default=None)
        if found is None:
            raise UsageError(f"{self._folder} is no repository; kdlight-edge update init-repo makes one")
        return found

    def _read(self, role: str) -> "Metadata[Any]":
        with self._told():
            told: Metadata[Any] = Metadata.from_file(str(self._newest(role)))
        return told

    def _known(self, role: str) -> CryptoSigner:
        """Return who signs for a role.

        Raises:
            UsageError: no key, or one that devices do not know.
        """
        file = self._keys / f"{role}.key"
        signer = self._signer(role)
        if not _names(self._read("root").signed, role, file):
            raise UsageError(
                f"{file} is not the key of {role} that {self._newest('root')} names, and no device would believe it; "
                "bring that key, or rotate"
            )
        return signer

    def _signer(self, role: str) -> CryptoSigner:
        return read_signer(self._keys / f"{role}.key")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise KDLightError(f"{error.filename or self._folder} could not be written: {error.strerror}") from error
        except (RepositoryError, ValueError) as error:
            if isinstance(error, KDLightError):
                raise
            raise BundleError(f"the metadata of {self._folder} is damaged: {error}") from error


def _names(root: Root, role: str, key: Path) -> bool:
    """Tell whether a root names the key of a file; one that a full disk left without content, it does not."""
    with contextlib.suppress(UsageError):
        return read_signer(key).public_key.keyid in root.roles[role].keyids
    return False
