"""A bundle as one file: a plain tar, the same bytes on every machine, its seal first, read without trusting it."""

import base64
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kdlight_edge.bundle import Bundle, open_bundle, sha256_of
from kdlight_edge.errors import BundleError, KDLightError, UsageError
from kdlight_edge.strict import Reader

SUFFIX = ".kdl.tar"
SEAL = "seal.json"
SCHEMA = "kdlight-edge/seal/1"
PAYLOAD_TYPE = "application/vnd.kdlight-edge.seal+json"

LARGEST_SEAL = 1_000_000
LARGEST_FILE = 512_000_000
"""Bytes of all files of a bundle together, at most; the largest board's budget is a hundredth of it."""
MOST_FILES = 64

DAMAGED = (tarfile.TarError, ValueError, OverflowError, RecursionError)
"""What the standard library raises for headers of an archive; all but the first only where somebody prepared them."""

LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Headers that go on in a content of their own, which `pack` never needs."""

READER = Reader("seal", BundleError, "pack the bundle again")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the bundle."""

    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Seal:
    """What is signed: the bundle's identity, and every file with its digest and size."""

    schema: str
    name: str
    version: str
    digest: str
    """Of the manifest, see `kdlight_edge.manifest.digest_of`."""
    files: tuple[Entry, ...]
    """In the order of the archive."""

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(entry.bytes for entry in self.files)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A seal as it lies in the archive: a DSSE envelope, whose signatures `kdlight_edge.signature` judges."""

    record: Mapping[str, Any]
    seal: Seal


class Header(tarfile.TarInfo):
    """The header of a member that stands alone: one that goes on would be read into memory whole, unjudged."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
        """Read the 512 bytes of a header; raises `tarfile.ReadError` for one that goes on."""
        header = super().frombuf(buf, encoding, errors)
        if header.type in LONG:
            raise tarfile.ReadError("it has an extended header, which no packed bundle has")
        return header


def seal_of(bundle: Bundle) -> bytes:
    """Return the payload to be signed for a bundle."""
    manifest = bundle.manifest
    files = [{"file": name, "sha256": sha256_of(content), "bytes": len(content)} for name, content in _contents(bundle)]
    record = {
        "schema": SCHEMA, "name": manifest.name, "version": manifest.version, "digest": manifest.digest, "files": files,
    }  # fmt: skip
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def envelope_of(bundle: Bundle) -> Envelope:
    """Return the unsigned envelope of a bundle."""
    payload = seal_of(bundle)
    record = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": []}
    return Envelope(record, READER.record(Seal, json.loads(payload)))


def pack(bundle: Bundle, envelope: Mapping[str, Any], target: Path) -> None:
    """Write the archive beside its place and move it there whole.

    Raises:
        KDLightError: it cannot be written.
    """
    text = json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()
    beside = target.with_name(f".{target.name}.new")
    try:
        with beside.open("wb") as out:
            with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for name, content in [(SEAL, text), *_contents(bundle)]:
                    member = tarfile.TarInfo(name)
                    member.size, member.mode = len(content), 0o644
                    tar.addfile(member, io.BytesIO(content))
            out.flush()
            os.fsync(out.fileno())
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise KDLightError(f"{target} could not be written ({error.strerror}); choose another --out") from error


def read_envelope(file: Path) -> Envelope:
    """Read the seal of an archive; nothing else of it is read, and nothing is trusted yet.

    Raises:
        BundleError: it is none, or is cut short.
        KDLightError: it cannot be read.
    """
    with _opened(file) as tar:
        member = _next(tar, file)
        if member.name != SEAL or member.size > LARGEST_SEAL:
            raise BundleError(f"{file} is not a packed bundle: it does not begin with its seal; sign the bundle again")
        return _parse(_content(tar, member, file), file)


def unpack(file: Path, envelope: Envelope, folder: Path) -> Bundle:
    """Write the files of an archive, each held to the seal, into a new folder, and open that.

    The envelope is as `read_envelope` returned it, its signatures judged; the caller removes the folder after an error.

    Raises:
        BundleError: a file is missing, cut short, other than sealed, or not named there.
        KDLightError: it cannot be written.
    """
    folder.mkdir(parents=True)
    with _opened(file) as tar:
        _next(tar, file)
        for entry in envelope.seal.files:
            member = _next(tar, file)
            if member.name != entry.file or member.size != entry.bytes:
                raise BundleError(
                    f"{file} holds {member.name!r} of {member.size:,} bytes where its seal has {entry.file!r} of "
                    f"{entry.bytes:,}; refuse its sender"
                )
            content = _content(tar, member, file)
            if sha256_of(content) != entry.sha256:
                raise BundleError(f"{entry.file} in {file} is not what was sealed (its SHA-256 differs); copy it again")
            _write(folder / entry.file, content)
        if _read_next(tar, file) is not None:
            raise BundleError(f"{file} holds more than its seal names; refuse its sender")
    bundle = open_bundle(folder)
    if bundle.manifest.digest != envelope.seal.digest:
        raise BundleError(f"the manifest in {file} is not the one that was sealed; sign the bundle again")
    return bundle


def _contents(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    """Give the files that the manifest names, itself first; what else lies in the folder stays there."""
    yield "manifest.json", (bundle.path / "manifest.json").read_bytes()
    for artifact in bundle.manifest.artifacts:
        for named in (artifact.file, *(part.file for part in artifact.parts)):
            yield named, (bundle.path / named).read_bytes()


def _parse(text: bytes, file: Path) -> Envelope:
    try:
        record = json.loads(text)
        kind = record["payloadType"]
        seal = READER.record(Seal, json.loads(base64.b64decode(record["payload"], validate=True)))
    except BundleError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"the seal of {file} cannot be read ({error}); copy it again") from error
    if kind != PAYLOAD_TYPE:
        raise BundleError(f"{file} is sealed as {kind!r}, not as a bundle; refuse its sender")
    _check(seal, file)
    return Envelope(record, seal)


def _check(seal: Seal, file: Path) -> None:
    if seal.schema != SCHEMA:
        raise BundleError(
            f"{file} has the seal {seal.schema!r}, this program reads {SCHEMA!r}; install the matching one"
        )
    for key, text in (("name", seal.name), ("version", seal.version), ("digest", seal.digest)):
        if not text.isprintable():  # it could move a terminal's cursor, and so write a verdict of its own
            raise BundleError(f"{file} holds the {key} {text!r}, which no bundle has; refuse its sender")
    if len(seal.files) > MOST_FILES or seal.bytes > LARGEST_FILE or any(entry.bytes < 0 for entry in seal.files):
        raise BundleError(f"{file} holds {len(seal.files)} files of {seal.bytes:,} bytes, which no board's bundle has")
    names = [entry.file for entry in seal.files]
    for name in names:
        parts = name.split("/")
        if not name.isprintable() or "\\" in name or any(part in {"", ".", ".."} for part in parts) or len(parts) > 4:  # noqa: PLR2004 - deeper than any bundle
            raise BundleError(f"{file} holds the name {name!r}, which leads out of a bundle; refuse its sender")
    if names[:1] != ["manifest.json"] or len({name.casefold() for name in names}) != len(names):
        raise BundleError(f"{file} holds {names}, which is no bundle; refuse its sender")


def _opened(file: Path) -> tarfile.TarFile:
    if file.exists() and not file.is_file() and not file.is_dir():  # it would be waited for, or has no end
        raise BundleError(f"{file} is a pipe or device and no packed bundle; give a file of bundle sign")
    try:
        return tarfile.open(file, mode="r:", tarinfo=Header)
    except FileNotFoundError as error:
        raise UsageError(f"there is no {file}; give a file that kdlight-edge bundle sign wrote") from error
    except DAMAGED as error:
        raise BundleError(f"{file} is not a packed bundle, or only a part of one ({error}); copy it again") from error
    except OSError as error:
        raise KDLightError(f"{file} cannot be read: {error.strerror}") from error


def _read_next(tar: tarfile.TarFile, file: Path) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except DAMAGED as error:
        raise BundleError(f"{file} is only a part of a packed bundle ({error}); copy it again") from error
    except OSError as error:
        raise KDLightError(f"{file} cannot be read: {error.strerror or error}") from error


def _next(tar: tarfile.TarFile, file: Path) -> tarfile.TarInfo:
    member = _read_next(tar, file)
    if member is None:
        raise BundleError(f"{file} is only a part of a packed bundle: files are missing; copy it again")
    if not member.isreg() or member.issparse():
        raise BundleError(f"{file} holds {member.name!r}, which is no plain file; refuse its sender")
    return member


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> bytes:
    stream: IO[bytes] | None = tar.extractfile(member)
    try:
        content = stream.read() if stream is not None else b""
    except tarfile.TarError as error:
        raise BundleError(f"{file} is only a part of a packed bundle ({error}); copy it again") from error
    except OSError as error:
        raise KDLightError(f"{file} cannot be read: {error.strerror or error}") from error
    if len(content) != member.size:
        raise BundleError(f"{file} is only a part of a packed bundle: {member.name} is cut short; copy it again")
    return content


def _write(place: Path, content: bytes) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    except OSError as error:
        raise KDLightError(f"{place} could not be written: {error.strerror}; make room, then try again") from error
