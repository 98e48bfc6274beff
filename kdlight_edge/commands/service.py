"""``kdlight-edge service``: make a camera and a bundle a systemd service, look at it, read its log, take it away."""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.errors import KDLightError, UsageError

if TYPE_CHECKING:
    from kdlight_edge.commands.hands import Hands
    from kdlight_edge.unit import Service

SHOWN = ("ActiveState", "SubState", "StatusText", "NRestarts", "Result", "MainPID", "ActiveEnterTimestamp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    parser.epilog = "Exit code: 0 done, 1 failed (status: not running), 2 usage, 5 bundle refused, 6 no such source."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    install = actions.add_parser("install", help="write the unit, its settings and the bundle, and start it")
    install.add_argument("--model", metavar="NAME.kdl", help="the bundle; copied to /opt/kdlight-edge/models")
    install.add_argument("--source", metavar="URI", help="a camera as in infer (default: the first USB camera)")
    install.add_argument("--update-from", metavar="URL", help="look there for a newer bundle every day, see update")
    install.add_argument("--options", metavar="TEXT", help="further flags of infer, for instance '--max-age 0.5'")
    status = actions.add_parser("status", help="tell whether it runs and how it does")
    status.add_argument("--json", action="store_true", help="print one JSON object")
    logs = actions.add_parser("logs", help="show its log")
    logs.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    logs.add_argument("--lines", type=int, default=50, metavar="N", help="how many to begin with (default 50)")
    uninstall = actions.add_parser("uninstall", help="stop it and take its files away")
    uninstall.add_argument("--purge", action="store_true", help="also what it has stored in /var/lib")
    for action in (install, status, logs, uninstall):
        action.add_argument("--name", metavar="NAME", help="which, on a board with several cameras")
    for action in (install, uninstall):
        action.add_argument("--root", default="/", metavar="DIR", help="the files of another system; starts nothing")
        action.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")


def run(args: argparse.Namespace) -> int:
    """Do one of the four; see `add_arguments` for the exit code."""
    from kdlight_edge.commands.hands import Hands
    from kdlight_edge.unit import Service

    if args.action == "status":
        return _status(Service(args.name), as_json=args.json)
    if args.action == "logs":
        return _logs(Service(args.name), follow=args.follow, lines=args.lines)
    service = Service(args.name, Path(args.root))
    hands = Hands(service, dry=args.dry_run)
    try:
        if args.action == "install":
            _install(service, hands, args)
        else:
            _uninstall(service, hands, purge=args.purge)
    except PermissionError as error:  # a dry run by another user than root
        raise KDLightError(f"{error.filename} may be read by root only; ask again as root") from error
    return 0


def _install(service: "Service", hands: "Hands", args: argparse.Namespace) -> None:
    from kdlight_devices.detect import detect
    from kdlight_edge import unit
    from kdlight_edge.commands import update_units

    before = unit.read_settings(service.settings_file)
    settings = _wanted(before, args)
    text = _settings_text(service, settings)
    program = unit.PACKAGED_PROGRAM if service.packaged else unit.find_program(service, sys.executable)
    if args.model is not None:  # from here on something is changed, and before it everything that is given was judged
        _bring_model(service, hands, Path(args.model).resolve())
    kept = hands.keeps(service.unit_file, "remove it and install again to have ours")
    if service.packaged:
        hands.say(f"{service.packaged_file} is the package's and serves")
    elif not kept:
        hands.write(service.unit_file, unit.unit_text(service, program))
    if not kept and hands.here and _systemd_version() >= unit.STEPS_SINCE:
        hands.write(service.back_off_file, unit.BACK_OFF)
    for file in service.gpu_files if detect(service.root).target == "jetson" else ():
        hands.write(file, unit.shipped(unit.JETSON))
    if settings != before:
        hands.write(service.settings_file, text, 0o600)  # a camera's URI may hold a password
    hands.systemctl("daemon-reload")
    update_units.install(service, hands, settings, program)
    hands.systemctl("enable", service.instance, wrong=f"{service.instance} cannot be enabled")
    hands.systemctl("reset-failed", service.instance)
    wrong = f"{service.instance} did not become ready; kdlight-edge service logs{_flag(service)} tells why"
    hands.systemctl("restart" if hands.changed else "start", service.instance, wrong=wrong)
    if hands.here and not hands.dry:
        hands.say(f"{service.instance} is ready; kdlight-edge service status{_flag(service)} tells how it does")


def _wanted(before: Mapping[str, str], args: argparse.Namespace) -> dict[str, str]:
    """Return the settings as they shall be; touches nothing."""
    from kdlight_edge import unit

    settings = dict(before)
    if args.model is not None:
        settings["KDLIGHT_MODEL"] = f"/opt/kdlight-edge/models/{Path(args.model).resolve().name}"
    if "KDLIGHT_MODEL" not in settings:
        raise UsageError("--model is missing; give the bundle that the service shall run")
    for flag, value in (("--model", args.model), ("--source", args.source), ("--update-from", args.update_from)):
        if value == "":
            raise UsageError(f"{flag} is empty; give it a value, or leave it out")
    if args.update_from is not None:
        settings |= {"KDLIGHT_UPDATE_OPTIONS": "", **settings, "KDLIGHT_UPDATE_FROM": args.update_from}
    if args.source is not None or "KDLIGHT_SOURCE" not in settings:
        settings["KDLIGHT_SOURCE"] = _live(args.source or unit.first_camera())
    settings["KDLIGHT_OPTIONS"] = settings.get("KDLIGHT_OPTIONS", "") if args.options is None else args.options
    return settings


def _settings_text(service: "Service", settings: Mapping[str, str]) -> str:
    from kdlight_edge import unit

    file = service.settings_file
    return unit.settings_text(settings, unit.text_of(file) if file.is_file() else unit.SETTINGS_HEAD)


def _bring_model(service: "Service", hands: "Hands", model: Path) -> None:
    hands.copy_bundle(model, service.models / model.name)
    if hands.changed:  # a bundle that is installed by hand serves, and none that an update brought before it
        hands.remove(service.root / service.state.removeprefix("/") / "current")


def _uninstall(service: "Service", hands: "Hands", *, purge: bool) -> None:
    from kdlight_edge import unit
    from kdlight_edge.commands import update_units

    others = [other for other in unit.installed(service.root) if other != service]
    model = unit.read_settings(service.settings_file).get("KDLIGHT_MODEL", "")
    hands.systemctl("disable", "--now", service.instance)
    update_units.uninstall(service, hands, others)
    if service.unit_file.is_file() and not any(other.template == service.template for other in others):
        if not hands.keeps(service.unit_file, "remove it yourself"):
            hands.remove(service.unit_file)
        hands.remove(service.back_off_file)
        hands.remove_if_empty(service.back_off_file.parent)
    for file in service.gpu_files if not any(other.template == service.template for other in others) else ():
        hands.remove(file)
        hands.remove_if_empty(file.parent)
    hands.remove(service.settings_file)
    hands.remove_if_empty(service.settings_file.parent)
    in_use = {unit.read_settings(other.settings_file).get("KDLIGHT_MODEL") for other in others}
    if model.startswith("/opt/kdlight-edge/models/") and model not in in_use:
        hands.remove(service.models / Path(model).name)
        hands.remove_if_empty(service.models)
    hands.systemctl("daemon-reload")
    hands.systemctl("reset-failed", service.instance)
    state = Path(service.state)
    places = [service.root / state.relative_to("/"), service.root / "var/lib/private" / state.name]
    memory = [service.root / "run" / state.name, service.root / "run/private" / state.name]
    for place in (*places, *memory) if purge else ():
        hands.remove(place)
    for place in memory:
        hands.remove_if_empty(place)
    if not purge and any(os.path.lexists(place) for place in places):
        hands.say(f"what it has stored in {service.state} is kept; --purge removes it")


def _status(service: "Service", *, as_json: bool) -> int:
    from kdlight_edge import unit
    from kdlight_edge.commands.hands import need_systemd

    need_systemd()
    command = ["systemctl", "show", service.instance, f"--property={','.join(SHOWN)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise KDLightError(f"systemctl cannot be asked: {' '.join(done.stderr.split())}")
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    record = {
        "service": service.instance,
        "installed": service in unit.installed() and (service.packaged or service.unit_file.is_file()),
        "active": shown.get("ActiveState") == "active",
        "state": f"{shown.get('ActiveState')} ({shown.get('SubState')})",
        "since": shown.get("ActiveEnterTimestamp") or None,
        "status": shown.get("StatusText") or None,
        "restarts": int(shown.get("NRestarts") or 0),
        "result": shown.get("Result"),
        "pid": int(shown.get("MainPID") or 0) or None,
    }
    if as_json:
        print(json.dumps(record))
    elif not record["installed"]:
        print(f"{service.instance} is not installed; kdlight-edge service install --model NAME.kdl{_flag(service)}")
    else:
        since = f" since {record['since']}" if record["since"] else ""
        print(f"{service.instance}: {record['state']}{since}, {record['restarts']} restarts, {record['result']}")
        print(f"  {record['status'] or 'has not told anything yet'}")
    return 0 if record["active"] else 1


def _logs(service: "Service", *, follow: bool, lines: int) -> int:
    if shutil.which("journalctl") is None:
        raise KDLightError("journalctl is not here; the log is kept by systemd-journald")
    command = ["journalctl", "--no-pager", "--unit", service.instance, "--lines", str(lines)]
    return subprocess.run([*command, *(["--follow"] if follow else [])], check=False).returncode  # noqa: S603


def _live(source: str) -> str:
    """Return a source that can be served; kind_of refuses the unknown ones."""
    from kdlight_edge.sources import kind_of

    if kind_of(source) in {"folder", "video", "dicom"}:
        raise UsageError(f"{source} has an end; a service needs a camera, a watch: folder or a dicom:// listener")
    return source


def _systemd_version() -> int:
    """Return systemd's version; 0 where it cannot be told."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        told = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)  # noqa: S607
        return int(told.stdout.split()[1].split(".")[0])
    return 0


def _flag(service: "Service") -> str:
    return f" --name {service.name}" if service.name else ""
