"""``kdlight-edge inspect``: what each engine of this machine really executes of a bundle, layer by layer."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from kdlight_edge.commands.threads import check_threads
from kdlight_edge.errors import BundleError, EngineNotReady, MissingPackage, UsageError
from kdlight_edge.strict import shown

if TYPE_CHECKING:
    from kdlight_edge.bundle import Bundle
    from kdlight_edge.manifest import Artifact

SCHEMA = "kdlight-edge/inspect/1"

LABEL_HOLDS = 0.5
"""Share of the multiply-adds that must be executed in the precision of the label, or it is called a label only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", metavar="NAME.kdl", help="the bundle")
    parser.add_argument("--engine", metavar="NAME", help="inspect this engine only; all that run here otherwise")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads inside one run (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Inspect every file that an engine of this machine runs.

    Raises:
        BundleError: the bundle is damaged, an engine that is here does not take its file, or nothing in it can be
            inspected here.
    """
    from kdlight_edge.bundle import open_bundle
    from kdlight_edge.engines import ENGINES
    from kdlight_edge.layers import INSPECTORS

    if args.engine is not None and args.engine not in INSPECTORS:
        raise UsageError(f"--engine {args.engine} is unknown; choose {', '.join(INSPECTORS)}")
    check_threads(args.threads, least=1)
    bundle = open_bundle(args.model)
    refused: list[BundleError] = []
    files = [
        _inspect(bundle, artifact, name, args.threads, refused)
        for artifact in bundle.manifest.artifacts
        for name in INSPECTORS
        if ENGINES[name][1] == artifact.format and args.engine in {None, name}
    ]
    if not any(entry["layers"] for entry in files):
        reason = files[0]["reason"] if files else "no engine asked for runs its files"
        raise BundleError(f"nothing in {bundle.path} could be inspected here: {reason}")
    if args.json:
        print(json.dumps(_record(bundle, args.threads, files), indent=1))
    else:
        print("\n".join(map(shown, _lines(bundle, files))))
    if refused:
        raise refused[0]
    return 0


def _inspect(
    bundle: "Bundle", artifact: "Artifact", engine: str, threads: int, refused: list[BundleError]
) -> dict[str, Any]:
    """Return what is told of one file; an engine that does not take it is added to ``refused``."""
    from kdlight_edge.layers import layers_of, shares

    entry: dict[str, Any] = {
        "file": artifact.file, "engine": engine, "precision": artifact.precision, "bytes": artifact.all_bytes,
        "executed": {}, "label_holds": None, "macs": None, "weight_bytes": None, "microseconds": None, "layers": [],
        "reason": "",
    }  # fmt: skip
    try:
        layers = layers_of(bundle, artifact, engine=engine, threads=threads)
    except (MissingPackage, EngineNotReady) as error:
        return {**entry, "reason": str(error)}
    except BundleError as error:
        refused.append(error)
        return {**entry, "reason": str(error)}
    executed = shares(layers)
    # The weights of an OpenVINO IR have 16 bits and are computed in 32: that is how it is described everywhere.
    wanted = "fp32" if artifact.format == "openvino" and artifact.precision == "fp16" else artifact.precision
    return {
        **entry,
        "executed": {name: round(share, 4) for name, share in executed.items()},
        "label_holds": executed.get(wanted, 0.0) >= LABEL_HOLDS,
        "macs": sum(layer.macs for layer in layers),
        "weight_bytes": sum(layer.bytes for layer in layers),
        "microseconds": round(sum(layer.microseconds for layer in layers), 1),
        "layers": [dataclasses.asdict(layer) for layer in layers],
    }


def _record(bundle: "Bundle", threads: int, files: list[dict[str, Any]]) -> dict[str, Any]:
    from kdlight_devices.fingerprint import fingerprint, versions

    manifest = bundle.manifest
    return {
        "schema": SCHEMA,
        "bundle": {"name": manifest.name, "version": manifest.version, "digest": manifest.digest},
        "macs": manifest.macs,
        "machine": fingerprint(),
        "versions": versions(),
        "threads": threads,
        "files": files,
    }


def _lines(bundle: "Bundle", files: list[dict[str, Any]]) -> list[str]:
    manifest = bundle.manifest
    lines = [f"{manifest.name} {manifest.version}: {manifest.student}, {manifest.macs / 1e6:.1f} M multiply-adds"]
    for entry in files:
        head = f"{entry['file']} on {entry['engine']}, called {entry['precision']}, {entry['bytes']:,} bytes"
        lines.append("")
        lines += [head, *_layers(entry)] if entry["layers"] else [f"{head}: not inspected: {entry['reason']}"]
    return lines


def _layers(entry: dict[str, Any]) -> list[str]:
    rows = entry["layers"]
    names, kinds = (max(len(row[key]) for row in rows) for key in ("name", "kind"))
    total = entry["microseconds"] or 1.0
    figures = f"{'bytes':>9}  {'MMAC':>7}  {'µs':>7}  {'share':>6}  GMAC/s"
    lines = [f"  {'layer':<{names}}  {'kernel':<{kinds}}  executed  {figures}"]
    for row in rows:
        speed = f"{row['macs'] / row['microseconds'] / 1e3:6.1f}" if row["macs"] and row["microseconds"] else "     -"
        lines.append(
            f"  {row['name']:<{names}}  {row['kind']:<{kinds}}  {row['precision']:<8}  {row['bytes']:>9,}  "
            f"{row['macs'] / 1e6:>7.3f}  {row['microseconds']:>7.1f}  {row['microseconds'] / total:>6.1%}  {speed}"
        )
    mix = ", ".join(f"{share:.1%} in {name}" for name, share in entry["executed"].items())
    lines.append(
        f"  {len(rows)} layers, {entry['macs'] / 1e6:.1f} M multiply-adds ({mix}), {entry['weight_bytes']:,} bytes of "
        f"weights, {_time(entry)}"
    )
    if not entry["label_holds"]:
        lines.append(f"  {entry['precision'].upper()} IS A LABEL ONLY HERE: this engine computes {mix}")
    return lines


def _time(entry: dict[str, Any]) -> str:
    if not entry["microseconds"]:
        return "as the engine is given them; it tells no times without its GPU"
    return f"{entry['microseconds']:.0f} µs with the engine's counters on"
