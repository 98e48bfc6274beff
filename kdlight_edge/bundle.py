"""The noun that travels: a folder NAME.kdl with a sealed manifest and the files of its engines."""

import errno
import hashlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdlight_edge import durable
from kdlight_edge.errors import BundleError
from kdlight_edge.manifest import Artifact, Manifest, Part, from_json, to_json

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: its manifest was read and every artifact's digest was checked."""

    path: Path
    manifest: Manifest

    def file_of(self, artifact: Artifact) -> Path:
        """Return the path of an artifact's file, inside the bundle."""
        return _inside(self.path, artifact.file)

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Open NAME.kdl, or the bundle that serves in a state folder of ``kdlight-edge update``, and check it whole.

    Raises:
        BundleError: not a bundle, a missing or unknown key, another schema, a missing or changed file,
            or a path that climbs out of the bundle.
    """
    folder = Path(path)
    if not (folder / MANIFEST).exists() and (folder / "current" / MANIFEST).exists():
        folder = (folder / "current").resolve()  # a state folder of kdlight-edge update; its link may change meanwhile
    file = folder / MANIFEST
    try:
        text = _read(file).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError) and not folder.exists():
            left = durable.left_of(folder)
            hint = f"a cut of power left it behind: mv {left} {folder}" if left else "kdlight-edge export makes one"
            raise BundleError(f"there is no bundle at {folder}; {hint}") from error
        raise BundleError(f"{folder} is not a bundle: {MANIFEST} cannot be read ({_reason(error)})") from error
    try:
        record = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} is not JSON ({error}); copy the bundle again") from error
    manifest = from_json(record)
    bundle = Bundle(folder, manifest)
    for artifact in manifest.artifacts:
        _check_file(bundle, artifact)
        for part in artifact.parts:
            _check_file(bundle, part)
    return bundle


def write_bundle(path: str | os.PathLike[str], manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle beside its place and move it there whole, replacing an older bundle of that name in one step.

    It is on the disk before it is moved, and the move before the older one is removed: after a cut of power one of the
    two stands there (see `durable.replace`).

    Args:
        path: where NAME.kdl shall stand.
        manifest: its manifest; the digest is filled in here.
        files: bytes by the relative file name that the manifest uses.

    Raises:
        BundleError: there is something at ``path`` that is not a bundle, or the disk is full.
    """
    target = Path(path)
    check_place(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        durable.clear(target)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as beside:
            _fill(Path(beside) / target.name, manifest, files)
            durable.replace(Path(beside) / target.name, target)
    except OSError as error:
        raise BundleError(f"{target} could not be written ({_reason(error)}); nothing was changed there") from error
    return open_bundle(target)


def check_place(target: Path) -> None:
    """See that a bundle can be written to a place; what is only told after the work costs it.

    Raises:
        BundleError: there is something that is not a bundle, or the folder around it cannot be written.
    """
    if target.exists() and not (target / MANIFEST).is_file():
        raise BundleError(f"{target} exists and is not a bundle; choose another --out or remove it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent):
            pass
    except OSError as error:
        raise BundleError(f"{target} could not be written ({_reason(error)}); nothing was changed there") from error


def _fill(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write a new bundle, check that it opens, and have it on the disk."""
    folder.mkdir()
    for name, content in files.items():
        file = _inside(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    text = json.dumps(to_json(manifest), indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    open_bundle(folder)
    durable.sync_tree(folder)


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of ``content`` in hex."""
    return hashlib.sha256(content).hexdigest()


def _check_file(bundle: Bundle, named: Artifact | Part) -> None:
    file = _inside(bundle.path, named.file)
    try:
        content = _read(file)
    except OSError as error:
        raise BundleError(f"{bundle.path} lacks its file {named.file} ({_reason(error)}); copy it again") from error
    if sha256_of(content) != named.sha256:
        raise BundleError(f"{file} was changed after export (its SHA-256 differs); copy the bundle again")


def _read(file: Path) -> bytes:
    """Return a file's bytes; a pipe would be waited for, and a device has no end."""
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # reading says of a folder what it is
        raise OSError(errno.EINVAL, "a pipe or device, no file")
    return file.read_bytes()


def _inside(folder: Path, name: str) -> Path:
    """Resolve a file name of a manifest, which must not leave the bundle."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\\" in name or "\0" in name:
        raise BundleError(f"the manifest names the file {name!r}, which lies outside the bundle; refuse its sender")
    if not name.isprintable():
        raise BundleError(f"the manifest names the file {name!r}, which cannot be shown; refuse its sender")
    file = folder.joinpath(*pure.parts)
    if not file.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"the file {name!r} leads out of the bundle by a link; copy the bundle again")
    return file


def _no_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which no JSON has")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # a temperature or a tolerance would pass every check
        raise ValueError(f"it holds {text}, which is too large")
    return number


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
