"""``kdlight-edge verify``: replay a bundle's golden pictures on this machine and compare with the student's answers."""

import argparse
import dataclasses
import json
import textwrap
from typing import TYPE_CHECKING, Any

from kdlight_edge.errors import (
    BundleError,
    EngineMismatch,
    EngineNotReady,
    MissingPackage,
    ParityError,
    UsageError,
)
from kdlight_edge.strict import shown

if TYPE_CHECKING:
    from kdlight_edge.bundle import Bundle
    from kdlight_edge.manifest import Artifact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", metavar="NAME.kdl", help="the bundle")
    parser.add_argument("--engine", metavar="NAME", help="check this engine only; all that run here otherwise")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Check every file that an engine of this machine runs.

    Raises:
        BundleError: the bundle is damaged, an engine that is here does not take its file, or nothing in it can be
            checked here.
        ParityError: an engine answers differently from the student.
    """
    from kdlight_edge.bundle import open_bundle
    from kdlight_edge.engines import ENGINES

    if args.engine is not None and args.engine not in ENGINES:
        raise UsageError(f"--engine {args.engine} is unknown; choose {', '.join(ENGINES)}")
    bundle = open_bundle(args.model)
    rows = [
        _check(bundle, artifact, name)
        for artifact in bundle.manifest.artifacts
        for name, (_, kind) in ENGINES.items()
        if kind == artifact.format and args.engine in {None, name}
    ]
    checked = {row["file"] for row in rows}
    rows += [
        {**_row(artifact, None), "reason": f"no engine asked for runs {artifact.format}"}
        for artifact in bundle.manifest.artifacts
        if artifact.file not in checked
    ]
    if args.json:
        print(json.dumps(_record(bundle, rows), indent=1))
    else:
        _tell(bundle, rows)
    differing = next((row for row in rows if row["status"] == "differs"), None)
    if differing is not None:
        raise ParityError(differing["reason"])
    refused = next((row for row in rows if row["status"] == "refused"), None)
    if refused is not None:
        raise BundleError(refused["reason"])
    if not any(row["status"] == "equal" for row in rows):
        raise BundleError(f"nothing in {bundle.path} could be checked here: {rows[0]['reason']}")
    return 0


def _check(bundle: "Bundle", artifact: "Artifact", name: str) -> dict[str, Any]:
    from kdlight_edge.classifier import Classifier
    from kdlight_edge.decide import Settings
    from kdlight_edge.engines import load
    from kdlight_edge.meter import milliseconds

    row = {**_row(artifact, name), "tolerance": bundle.manifest.golden.allowed(artifact.file)}
    found: list[float] = []
    try:
        with Classifier(bundle, load(bundle, artifact, engine=name), Settings()) as classifier:
            row["milliseconds"] = round(milliseconds(lambda: found.append(classifier.verify())), 3)
    except (MissingPackage, EngineNotReady) as error:
        return {**row, "reason": str(error)}
    except (BundleError, EngineMismatch) as error:
        return {**row, "status": "refused", "reason": str(error)}
    except ParityError as error:
        return {**row, "status": "differs", "reason": str(error)}
    return {**row, "status": "equal", "max_logit_difference": found[0]}


def _row(artifact: "Artifact", engine: str | None) -> dict[str, Any]:
    return {
        "file": artifact.file,
        "precision": artifact.precision,
        "engine": engine,
        "tolerance": None,
        "status": "not checked",
        "max_logit_difference": None,
        "milliseconds": None,
        "reason": "",
    }


def _record(bundle: "Bundle", rows: list[dict[str, Any]]) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "bundle": {"name": manifest.name, "version": manifest.version, "digest": manifest.digest},
        "golden_pictures": len(manifest.golden.seeds),
        "tolerance": manifest.golden.tolerance,
        "card": dataclasses.asdict(manifest.card),
        "files": rows,
    }


def _tell(bundle: "Bundle", rows: list[dict[str, Any]]) -> None:
    manifest = bundle.manifest
    print(f"{manifest.name} {manifest.version}, digest {manifest.digest[:16]}: all files are as they were exported")
    print(f"{len(manifest.golden.seeds)} golden pictures")
    for row in rows:
        where = f"  {row['file']}  {row['precision']}  {row['engine'] or '-'}  "
        if row["status"] == "equal":
            seen = f"|Δlogit| {row['max_logit_difference']:.2g} of {row['tolerance']:g} allowed"
            print(f"{where}equal: {seen}, {row['milliseconds']:.1f} ms")
        else:
            print(shown(f"{where}{row['status']}: {row['reason']}"))
    card = manifest.card
    for title, text in (
        ("For", card.intended_use), ("Not for", card.not_for), ("Data", card.data_terms), ("Notes", card.notes),
    ):  # fmt: skip
        if text:
            print(textwrap.fill(f"{title}: {shown(' '.join(text.split()))}", 100, subsequent_indent="  "))
