"""Ed25519 keys and the signatures of packed bundles (DSSE envelopes), by securesystemslib and cryptography."""

import base64
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.dsse import Envelope as Dsse
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from kdlight_edge.archive import PAYLOAD_TYPE, Envelope
from kdlight_edge.errors import BundleError, KDLightError, UsageError

PASSWORD = "KDLIGHT_KEY_PASSWORD"  # noqa: S105 - the name of a variable
"""Variable that holds the password of private keys; without it they are written in the clear, for their owner only."""


def make_key(name: str, folder: Path) -> tuple[Path, Path]:
    """Make a pair of keys: NAME.key (PKCS#8, mode 0600) and NAME.pub, which devices trust.

    Raises:
        UsageError: no name for a file, or there is such a key.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(f"{name!r} cannot name a key; use letters, digits, - and _")
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    for file in (private, public):
        if file.exists():
            raise UsageError(f"{file} is there already and is never replaced; choose another name, or move it away")
    key = Ed25519PrivateKey.generate()
    password = os.environ.get(PASSWORD, "")
    hidden = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        if not isinstance(error, FileExistsError):  # half a key would be in the way of the next try
            for file in (private, public):
                file.unlink(missing_ok=True)
        raise KDLightError(f"{error.filename or folder} could not be written: {error.strerror}") from error
    return private, public


def read_signer(file: Path) -> CryptoSigner:
    """Read a private key.

    Raises:
        UsageError: there is none, it is of another kind, or its password is not given.
    """
    password = os.environ.get(PASSWORD, "").encode() or None
    try:
        text = file.read_bytes()
        try:
            key = load_pem_private_key(text, password)
        except TypeError:  # a password for a key that has none, or none for one that has
            if password is None:
                raise
            key = load_pem_private_key(text, None)
    except OSError as error:
        raise UsageError(
            f"the key {file} cannot be read: {error.strerror}; kdlight-edge bundle keygen makes one"
        ) from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{file} is no private key that opens with {PASSWORD}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{file} is not an Ed25519 key; kdlight-edge bundle keygen makes one")
    return CryptoSigner(key)


def read_trusted(folder: Path) -> dict[str, SSlibKey]:
    """Return the public keys of a folder by their file's name.

    Raises:
        UsageError: there are none, or a file is none.
    """
    found = {}
    for file in sorted(folder.glob("*.pub")):
        try:
            key = load_pem_public_key(file.read_bytes())
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} is no public key ({error}); copy it again, or remove it") from error
        if not isinstance(key, Ed25519PublicKey):
            raise UsageError(f"{file} is not an Ed25519 key; kdlight-edge bundle keygen makes one")
        found[file.stem] = SSlibKey.from_crypto(key)
    if not found:
        raise UsageError(f"{folder} holds no NAME.pub, so nobody is trusted; copy the public key of your signer there")
    return found


def sign(payload: bytes, signers: Sequence[CryptoSigner]) -> dict[str, Any]:
    """Return the envelope of a payload; without signers an unsigned one, for a transport that has its own."""
    envelope = Dsse(payload, PAYLOAD_TYPE, {})
    for signer in signers:
        envelope.sign(signer)
    record: dict[str, Any] = envelope.to_dict()
    return record


def signed_by(envelope: Envelope, trusted: dict[str, SSlibKey]) -> str:
    """Return the name of the trusted key that signed.

    Raises:
        BundleError: none did, or the signature is not of this content.
    """
    told = _dsse(envelope)
    for name, key in trusted.items():
        try:
            told.verify([key], 1)
        except VerificationError:
            continue
        return name
    claimed = told.signatures.keys() & {key.keyid for key in trusted.values()}
    names = ", ".join(trusted)
    if claimed:
        raise BundleError("the signature does not belong to this content: one of them was changed; copy the file again")
    if told.signatures:
        raise BundleError(f"the bundle is signed by a key that is not trusted here; trusted are {names}; refused")
    raise BundleError(f"the bundle is not signed; trusted are {names}; kdlight-edge bundle sign signs it")


def key_ids(envelope: Envelope) -> list[str]:
    """Return who claims to have signed."""
    return list(_dsse(envelope).signatures)


def _dsse(envelope: Envelope) -> Dsse:
    record = envelope.record
    try:
        signatures = [Signature.from_dict(_hex(entry)) for entry in record["signatures"]]
        plain = Dsse.from_dict({**record, "signatures": []})
        plain.signatures = {signature.keyid: signature for signature in signatures}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"the bundle's signatures cannot be read ({error}); copy the file again") from error
    return plain


def _hex(entry: dict[str, Any]) -> dict[str, str]:
    """Return a copy in the form of securesystemslib, whose own reader changes what it is given."""
    if not (isinstance(entry["keyid"], str) and entry["keyid"].isprintable()):
        raise ValueError("the name of a key is no text")
    return {**entry, "sig": base64.b64decode(entry["sig"], validate=True).hex()}
