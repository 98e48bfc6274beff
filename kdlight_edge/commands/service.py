"""``kdlight-edge service``: make a camera and a bundle a systemd service, look at it, read its log, take it away."""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.errors import KDLightError, UsageError

if TYPE_CHECKING:
    from kdlight_edge.unit import Service

SHOWN = ("ActiveState", "SubState", "StatusText", "NRestarts", "Result", "MainPID", "ActiveEnterTimestamp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    parser.epilog = "Exit code: 0 done, 1 failed (status: not running), 2 usage, 5 bundle refused."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    install = actions.add_parser("install", help="write the unit, its settings and the bundle, and start it")
    install.add_argument("--model", metavar="NAME.kdl", help="the bundle; copied to /opt/kdlight-edge/models")
    install.add_argument("--source", metavar="URI", help="a camera as in infer (default: the first USB camera)")
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
    from kdlight_edge.unit import Service

    if args.action == "status":
        return _status(Service(args.name), as_json=args.json)
    if args.action == "logs":
        return _logs(Service(args.name), follow=args.follow, lines=args.lines)
    service = Service(args.name, Path(args.root))
    hands = Hands(service, dry=args.dry_run)
    if args.action == "install":
        _install(service, hands, args)
    else:
        _uninstall(service, hands, purge=args.purge)
    return 0


class Hands:
    """Writes, removes and asks systemctl; says what it does, and with ``dry`` only that."""

    def __init__(self, service: "Service", *, dry: bool) -> None:
        self.root = service.root
        self.here = service.root == Path("/")
        self.dry = dry
        self.changed = False
        """Whether a file is another now."""
        if self.here and not dry:
            _need_root()
            _need_systemd()

    def write(self, file: Path, text: str, mode: int = 0o644) -> None:
        """Make a file what it shall be, by one rename; one that is so already is left alone."""
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            self.say(f"{file} is as it should be")
            return
        self.do(f"write {file}")
        if self.dry:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as content:
            content.write(text)
            content.flush()
            os.fsync(content.fileno())
        beside.replace(file)

    def copy_bundle(self, given: Path, place: Path) -> None:
        """Copy a bundle whole or not at all."""
        from kdlight_edge.bundle import open_bundle

        digest = open_bundle(given).manifest.digest
        if given.resolve() == place.resolve():
            return
        with contextlib.suppress(KDLightError):  # none there yet, or one that is damaged: replaced
            if open_bundle(place).manifest.digest == digest:
                self.say(f"{place} is as it should be")
                return
        self.do(f"copy {given} to {place}")
        if self.dry:
            return
        beside, old = place.with_name(f".{place.name}.new"), place.with_name(f".{place.name}.old")
        for left in (beside, old):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(given, beside, copy_function=shutil.copyfile)
        for path in (beside, *beside.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)  # read by the service's user, whoever copied it here
        open_bundle(beside)
        if place.exists():
            place.rename(old)
        beside.rename(place)
        shutil.rmtree(old, ignore_errors=True)

    def remove(self, path: Path) -> None:
        """Remove a file or folder; one that is not there is left alone."""
        if not os.path.lexists(path):
            return
        self.do(f"remove {path}")
        if not self.dry:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def remove_if_empty(self, folder: Path) -> None:
        """Remove a folder in which nothing of a person's own lies."""
        if not self.dry:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def systemctl(self, *words: str, wrong: str = "") -> None:
        """Ask the service manager; ``wrong`` is what to say when it does not, otherwise that is left alone."""
        command = ["systemctl", *words]
        if not self.here:
            if words[0] not in {"enable", "disable"} or shutil.which("systemctl") is None:
                return
            command = ["systemctl", f"--root={self.root}", words[0], words[-1]]
        self._tell(f"run {' '.join(command)}")
        if self.dry:
            return
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode and wrong:
            told = " ".join(done.stderr.split())
            raise KDLightError(f"{wrong}: {told or f'systemctl says {done.returncode}'}")

    def do(self, what: str) -> None:
        """Say what is changed, and remember that something is."""
        self.changed = True
        self._tell(what)

    def say(self, what: str) -> None:
        """Tell how something is."""
        print(what, file=sys.stderr)

    def _tell(self, what: str) -> None:
        self.say(f"would {what}" if self.dry else what)


def _install(service: "Service", hands: Hands, args: argparse.Namespace) -> None:
    from kdlight_edge import unit

    settings = unit.read_settings(service.settings_file)
    if args.model is not None:
        model = Path(args.model)
        hands.copy_bundle(model, service.models / model.resolve().name)
        settings["KDLIGHT_MODEL"] = f"/opt/kdlight-edge/models/{model.resolve().name}"
    if "KDLIGHT_MODEL" not in settings:
        raise UsageError("--model is missing; give the bundle that the service shall run")
    if args.source is not None or "KDLIGHT_SOURCE" not in settings:
        settings["KDLIGHT_SOURCE"] = _live(args.source or _first_camera())
    settings["KDLIGHT_OPTIONS"] = settings.get("KDLIGHT_OPTIONS", "") if args.options is None else args.options
    text = "" if service.packaged else unit.unit_text(service, unit.find_program(service, sys.executable))
    kept = service.unit_file.is_file() and unit.edited_by_hand(service.unit_file.read_text(encoding="utf-8"))
    if kept:
        hands.say(f"{service.unit_file} was edited by hand and is kept; remove it and install again to have ours")
    elif service.packaged:
        hands.say(f"{service.packaged_file} is the package's and serves")
    else:
        hands.write(service.unit_file, text)
    if not kept and hands.here and _systemd_version() >= unit.STEPS_SINCE:
        hands.write(service.back_off_file, unit.BACK_OFF)
    if settings != unit.read_settings(service.settings_file):  # a person's own comments stay otherwise
        hands.write(service.settings_file, unit.settings_text(settings), 0o600)  # a camera's URI may hold a password
    hands.systemctl("daemon-reload")
    hands.systemctl("enable", service.instance, wrong=f"{service.instance} cannot be enabled")
    hands.systemctl("reset-failed", service.instance)
    wrong = f"{service.instance} did not become ready; kdlight-edge service logs{_flag(service)} tells why"
    hands.systemctl("restart" if hands.changed else "start", service.instance, wrong=wrong)
    if hands.here and not hands.dry:
        hands.say(f"{service.instance} is ready; kdlight-edge service status{_flag(service)} tells how it does")


def _uninstall(service: "Service", hands: Hands, *, purge: bool) -> None:
    from kdlight_edge import unit

    others = [other for other in unit.installed(service.root) if other != service]
    model = unit.read_settings(service.settings_file).get("KDLIGHT_MODEL", "")
    hands.systemctl("disable", "--now", service.instance)
    if service.unit_file.is_file() and not any(other.template == service.template for other in others):
        if unit.edited_by_hand(service.unit_file.read_text(encoding="utf-8")):
            hands.say(f"{service.unit_file} was edited by hand and is kept; remove it yourself")
        else:
            hands.remove(service.unit_file)
        hands.remove(service.back_off_file)
        hands.remove_if_empty(service.back_off_file.parent)
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
    for place in places if purge else ():
        hands.remove(place)
    if not purge and any(os.path.lexists(place) for place in places):
        hands.say(f"what it has stored in {service.state} is kept; --purge removes it")


def _status(service: "Service", *, as_json: bool) -> int:
    from kdlight_edge import unit

    _need_systemd()
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

    if kind_of(source) in {"folder", "video"}:
        raise UsageError(f"{source} has an end; a service needs a camera, a stream or scene:crack")
    return source


def _first_camera() -> str:
    stable = sorted(Path("/dev/v4l/by-id").glob("*-video-index0"))
    return str(stable[0]) if stable else "/dev/video0"


def _need_systemd() -> None:
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        raise KDLightError("systemd does not run this system; --root DIR writes the files for another one")


def _need_root() -> None:
    if os.geteuid() == 0:
        return
    again = f"{Path(sys.argv[0]).resolve()} {' '.join(sys.argv[1:])}"
    if shutil.which("sudo"):
        raise KDLightError(f"a service is installed by root; type: sudo {again}")
    raise KDLightError(f"a service is installed by root, and sudo is not here; type: su -c '{again}'")


def _systemd_version() -> int:
    """Return systemd's version; 0 where it cannot be told."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        told = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)  # noqa: S607
        return int(told.stdout.split()[1].split(".")[0])
    return 0


def _flag(service: "Service") -> str:
    return f" --name {service.name}" if service.name else ""
