"""``kdlight-edge bundle``: pack a bundle into one signed file, make keys, and tell whose file one is."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdlight_edge.archive import Envelope

KEYS = "/etc/kdlight-edge/keys"
"""Folder of the public keys that a device trusts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    parser.epilog = "Exit code: 0 done, 1 failed, 2 usage, 5 refused: damaged, changed, or signed by nobody trusted."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    keygen = actions.add_parser("keygen", help="make NAME.key, which signs, and NAME.pub, which devices trust")
    keygen.add_argument("name", metavar="NAME", help="whose key it is")
    keygen.add_argument("--out", default=".", metavar="DIR", help="where both are written (default: here)")
    sign = actions.add_parser("sign", help="pack a bundle into one file and sign it")
    sign.add_argument("model", metavar="NAME.kdl", help="the bundle")
    sign.add_argument(
        "--key", action="append", required=True, metavar="FILE.key", help="that signs; may be given again"
    )
    sign.add_argument("--out", metavar="FILE", help="default: NAME-VERSION.kdl.tar, here")
    verify = actions.add_parser("verify", help="tell whether a file is whole and signed by a trusted key")
    verify.add_argument("file", metavar="FILE", help="a file of bundle sign")
    verify.add_argument("--keys", default=KEYS, metavar="DIR", help=f"trusted public keys (default {KEYS})")
    show = actions.add_parser("show", help="tell what a file or a bundle holds; trusts nothing")
    show.add_argument("file", metavar="FILE", help="a file of bundle sign, or NAME.kdl")
    for action in (verify, show):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Do one of the four."""
    if args.action == "keygen":
        from kdlight_edge.signature import make_key

        private, public = make_key(args.name, Path(args.out))
        print(f"{private} signs: keep it off the devices; {public} goes into their {KEYS}", file=sys.stderr)
        return 0
    if args.action == "sign":
        return _sign(args)
    return _verify(args) if args.action == "verify" else _show(args)


def _sign(args: argparse.Namespace) -> int:
    from kdlight_edge import archive, signature
    from kdlight_edge.bundle import open_bundle

    signers = [signature.read_signer(Path(key)) for key in args.key]
    bundle = open_bundle(args.model)
    manifest = bundle.manifest
    target = Path(args.out or f"{manifest.name}-{manifest.version}{archive.SUFFIX}")
    archive.pack(bundle, signature.sign(archive.seal_of(bundle), signers), target)
    print(target)
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Read the whole file: the seal's signature, then every file against the seal."""
    import tempfile

    from kdlight_edge import archive, signature

    trusted = signature.read_trusted(Path(args.keys))
    envelope = archive.read_envelope(Path(args.file))
    name = signature.signed_by(envelope, trusted)
    with tempfile.TemporaryDirectory() as folder:
        archive.unpack(Path(args.file), envelope, Path(folder, "bundle.kdl"))
    _print(args, {**_record(envelope), "trusted": name}, f"whole, and signed by {name}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from kdlight_edge import archive, signature

    if Path(args.file).is_dir():
        from kdlight_edge.bundle import open_bundle

        envelope = archive.envelope_of(open_bundle(args.file))
        _print(args, _record(envelope), "a bundle, not packed")
        return 0
    envelope = archive.read_envelope(Path(args.file))
    keys = signature.key_ids(envelope)
    told = f"says that {len(keys)} signed it: {', '.join(key[:16] for key in keys)}" if keys else "not signed"
    _print(args, {**_record(envelope), "keys": keys}, f"{told}; bundle verify tells whether that is so")
    return 0


def _record(envelope: "Envelope") -> dict[str, Any]:
    return dataclasses.asdict(envelope.seal)


def _print(args: argparse.Namespace, record: dict[str, Any], verdict: str) -> None:
    if args.json:
        print(json.dumps(record, indent=1))
        return
    print(f"{record['name']} {record['version']}, digest {record['digest'][:16]}: {verdict}")
    for entry in record["files"]:
        print(f"  {entry['bytes']:>12,}  {entry['sha256'][:16]}  {entry['file']}")
