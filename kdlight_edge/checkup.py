"""What works on this machine and what does not, found out with the standard library alone."""

import dataclasses
import grp
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from kdlight_devices.detect import detect
from kdlight_devices.fingerprint import fingerprint
from kdlight_devices.telemetry import look
from kdlight_edge import __version__, ailments
from kdlight_edge.engines import ENGINES
from kdlight_edge.engines.tensorrt_module import lack as tensorrt_lack
from kdlight_edge.errors import EXTRA_OF_PACKAGE
from kdlight_edge.late import numpy_clash

PURPOSE = {
    "runtime": "infer",
    "openvino": "infer, faster",
    "mqtt": "infer --mqtt",
    "update": "update, bundle sign",
    "dicom": "infer on scans",
    "survey": "infer --tiles on orthomosaics (TIFF)",
    "archive": "infer --cluster",
    "export": "export",
    "train": "train",
}
"""What a person wants to do with each extra."""

SPARED = {"simplejpeg": "infer, JPEG faster and told where damaged"}
"""Packages of the runtime that ``infer`` works without (OpenCV decodes in their place), and what they are for."""

IMPORTED = frozenset({"runtime", "openvino"})
"""Extras whose packages ``infer`` loads: they are not only looked for."""

IMPORT_SECONDS = 60
"""A Pi Zero needs half a minute for the largest package of the runtime."""

Entry = dict[str, Any]


def examine(root: Path = Path("/")) -> Entry:
    """Examine the machine; ``root`` is ``/``, or the folder of a tree captured elsewhere.

    Returns:
        Plain JSON types: ``version``, ``machine`` (see `fingerprint`), ``board``, ``telemetry`` (see `look`), ``disk``,
        ``packages``, ``engines``, ``cameras``, ``problems`` (each with the command that mends it) and ``ready``
        (whether ``infer`` works).
    """
    board = detect(root)
    packages = _packages()
    cameras = _cameras(root)
    engines = [_engine(name, packages) for name in ENGINES]
    seen = look(root)
    ailing = [ailment._asdict() for ailment in ailments.find(root, board, seen)]
    here = Path.cwd()
    return {
        "version": __version__,
        "machine": fingerprint(root),
        "board": dataclasses.asdict(board),
        "telemetry": {**dataclasses.asdict(seen), "throttling": seen.throttling._asdict()},
        "disk": {"path": str(here), "free_bytes": shutil.disk_usage(here).free},
        "packages": packages,
        "engines": engines,
        "cameras": cameras,
        "problems": [*_problems(packages, cameras), *ailing],
        "ready": all(entry["works"] for entry in packages if _needed(entry)),
    }


def _packages() -> list[Entry]:
    owners = importlib.metadata.packages_distributions()
    wanted = [name for name in EXTRA_OF_PACKAGE if name != "tomli" or sys.version_info < (3, 11)]
    return [_package(name, owners.get(name, [])) for name in wanted]


def _package(name: str, owners: list[str]) -> Entry:
    """Look for one package; those of the runtime are imported too, in a process of their own.

    A package that is there and cannot be imported is common on boards: a system library is missing, or the wheel has
    instructions that the processor has not, which ends the process without a word of Python.
    """
    extra = EXTRA_OF_PACKAGE[name]
    installed = importlib.util.find_spec(name) is not None
    reason = _import_failure(name) if installed and extra in IMPORTED else ""
    again = "--force-reinstall " if reason else ""
    return {
        "name": name,
        "installed": installed,
        "version": importlib.metadata.version(owners[0]) if owners else None,
        "works": installed and not reason,
        "reason": reason,
        "extra": extra,
        "for": SPARED.get(name, PURPOSE[extra]),
        "mend": "" if installed and not reason else f"pip install {again}'kdlight-edge[{extra}]'",
    }


def _needed(entry: Entry) -> bool:
    """Whether ``infer`` needs it: one that it could spare may also be there and end the process."""
    return entry["extra"] == "runtime" and (entry["installed"] or entry["name"] not in SPARED)


def _import_failure(name: str) -> str:
    try:
        ran = subprocess.run(  # noqa: S603 - our own interpreter, a name from a literal table
            [sys.executable, "-c", f"import {name}"],
            capture_output=True,
            text=True,
            timeout=IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {IMPORT_SECONDS} s"
    if ran.returncode < 0:
        return f"the process was ended by signal {-ran.returncode}; this build does not suit the processor"
    if ran.returncode and (clash := numpy_clash(ran.stderr, name)):
        return clash
    return (ran.stderr.strip().splitlines() or ["failed without a word"])[-1] if ran.returncode else ""


def _engine(name: str, packages: list[Entry]) -> Entry:
    """An engine runs when its package, which has its name, and the runtime's packages that are no engine do."""
    if name == "tensorrt":
        reason = tensorrt_lack() or ""
        return {"name": name, "format": ENGINES[name][1], "runs": not reason, "reason": reason}
    others = ENGINES.keys() - {name}
    loaded = [entry for entry in packages if entry["extra"] in IMPORTED and entry["name"] not in others]
    needed = [entry for entry in loaded if _needed(entry) or entry["name"] == name]
    broken = [entry["name"] for entry in needed if not entry["works"]]
    mend = next((entry["mend"] for entry in needed if entry["name"] == name and not entry["installed"]), "")
    needs = f"needs {', '.join(broken)}" + (f": {mend}" if mend and broken == [name] else "") if broken else ""
    return {"name": name, "format": ENGINES[name][1], "runs": not broken, "reason": needs}


def _cameras(root: Path) -> list[Entry]:
    links: dict[str, list[str]] = {}
    for folder in ("by-id", "by-path"):
        for link in sorted((root / "dev/v4l" / folder).glob("*")):
            links.setdefault(link.resolve().name, []).append(f"/dev/v4l/{folder}/{link.name}")
    found = sorted((root / "dev").glob("video[0-9]*"), key=lambda path: int(path.name[5:]))
    return [_camera(root, path, links.get(path.name, [])) for path in found]


def _camera(root: Path, path: Path, links: list[str]) -> Entry:
    opens = os.access(path, os.R_OK | os.W_OK)
    try:
        name = (root / "sys/class/video4linux" / path.name / "name").read_text(encoding="utf-8").strip()
    except OSError:
        name = "unnamed"
    reason = "" if opens else f"this user may not open it (it belongs to group {_group(path)})"
    return {"path": f"/dev/{path.name}", "name": name, "links": links, "opens": opens, "reason": reason}


def _group(path: Path) -> str:
    number = path.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _problems(packages: list[Entry], cameras: list[Entry]) -> list[Entry]:
    """List what keeps ``infer`` from working, or a package from importing; what only training needs is no problem."""
    problems = []
    for entry in packages:
        if entry["installed"] and not entry["works"]:
            what = f"{entry['name']} is installed and does not import: {entry['reason']}"
            problems.append({"what": what, "mend": entry["mend"]})
    missing = [entry for entry in packages if _needed(entry) and not entry["installed"]]
    if missing:
        names = ", ".join(entry["name"] for entry in missing)
        problems.append({"what": f"infer needs {names}", "mend": missing[0]["mend"]})
    elif not problems:  # what mends them brings it too
        problems += [
            {"what": f"damaged JPEGs are answered like whole ones without {entry['name']}", "mend": entry["mend"]}
            for entry in packages
            if entry["name"] in SPARED and not entry["installed"]
        ]
    if any(not camera["opens"] for camera in cameras):
        mend = "sudo usermod -aG video $USER, then log in again"
        problems.append({"what": "a camera may not be opened by this user", "mend": mend})
    return problems
