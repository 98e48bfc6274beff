"""The files of a service: its unit, its settings and its bundle, where they lie and what is in them."""

import hashlib
import importlib.resources
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdlight_edge.errors import UsageError

PROGRAM = "/opt/kdlight-edge/bin/kdlight-edge"
"""What the units start as they are shipped, and where devices/setup puts it."""

PACKAGED_PROGRAM = "/usr/lib/kdlight-edge/bin/kdlight-edge"
"""Where the Debian package puts it."""

UPDATE_STARTERS = ("timer", "path")
UPDATE_KINDS = ("service", *UPDATE_STARTERS)
"""Units of a service's updates; the last two start the first, and are what is enabled."""

UNREADABLE = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - named to be refused
"""Folders that the unit closes to its program (ProtectHome, PrivateTmp)."""

JETSON = "10-jetson.conf"
"""Drop-in that opens a Jetson's GPU to a unit that is closed to all devices but cameras."""

STEPS_SINCE = 254
"""The systemd that can wait longer after each restart."""

BACK_OFF = """# Written by kdlight-edge service install: each restart waits longer than the one before, up to 30 s.
[Service]
RestartSteps=6
RestartMaxDelaySec=30s
"""

_SEAL = "# Written by kdlight-edge service install; changes belong into `systemctl edit {unit}`. Digest {digest}\n"
_SEALED = re.compile(r"# Written by kdlight-edge service install; .* Digest ([0-9a-f]{16})\n(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Service:
    """One service of one board: `kdlight-edge`, or ``kdlight-edge@NAME`` of several."""

    name: str | None = None
    """None for the only camera of a board."""
    root: Path = Path("/")
    """Where the system's files are; another folder than ``/`` for the image of another system."""

    def __post_init__(self) -> None:
        """Refuse names that systemd would escape or that another file has.

        Raises:
            UsageError: see above.
        """
        # A user of Linux has 31 characters, of which kdlight-edge- takes 13.
        if self.name is not None and (
            not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,17}", self.name) or self.name == "kdlight-edge"
        ):
            raise UsageError(f"--name {self.name!r} cannot name a service; use up to 18 small letters, digits, - and _")

    @property
    def template(self) -> str:
        """File name of the unit that this service shares with those of other names."""
        return "kdlight-edge.service" if self.name is None else "kdlight-edge@.service"

    @property
    def instance(self) -> str:
        """What systemctl calls it."""
        return "kdlight-edge.service" if self.name is None else f"kdlight-edge@{self.name}.service"

    @property
    def unit_file(self) -> Path:
        """Where the unit lies."""
        return self.root / "etc/systemd/system" / self.template

    def update_unit(self, kind: str) -> str:
        """Return what systemctl calls a unit of its updates: ``service``, ``timer`` or ``path``."""
        return f"kdlight-edge-update{f'@{self.name}' if self.name else ''}.{kind}"

    def update_file(self, kind: str) -> Path:
        """Return where that unit lies."""
        return self.root / f"etc/systemd/system/kdlight-edge-update{'@' if self.name else ''}.{kind}"

    @property
    def packaged_file(self) -> Path:
        """Where the unit of the Debian package lies; it serves unless there is one at `unit_file`."""
        return self.root / "usr/lib/systemd/system" / self.template

    @property
    def packaged(self) -> bool:
        """Whether the Debian package gives the unit."""
        return self.packaged_file.is_file() and not self.unit_file.exists()

    @property
    def back_off_file(self) -> Path:
        """Where the waiting times of newer systemds lie."""
        return self.root / f"etc/systemd/system/{self.template}.d/50-back-off.conf"

    @property
    def gpu_files(self) -> list[Path]:
        """Where the devices of a Jetson's GPU are opened, for the service and for its updates."""
        templates = self.unit_file, self.update_file("service")
        return [template.with_name(f"{template.name}.d") / JETSON for template in templates]

    @property
    def settings_file(self) -> Path:
        """Where model, source and options lie."""
        return self.root / f"etc/kdlight-edge/{self.name or 'kdlight-edge'}.env"

    @property
    def models(self) -> Path:
        """Folder of the bundles that services run."""
        return self.root / "opt/kdlight-edge/models"

    @property
    def state(self) -> str:
        """Folder that the service may write to, as it is called on its board."""
        return "/var/lib/kdlight-edge" + (f"-{self.name}" if self.name else "")


def installed(root: Path = Path("/")) -> list[Service]:
    """Return the services that have settings on this board, also those whose settings this user may not read."""
    files = sorted((root / "etc/kdlight-edge").glob("*.env"))
    names = [file.stem for file in files if _names_a_model(file)]  # the package's own says nothing
    return [Service(None if name == "kdlight-edge" else name, root) for name in names]


def _names_a_model(file: Path) -> bool:
    try:
        return "KDLIGHT_MODEL" in read_settings(file)
    except PermissionError:  # it is root's, as a camera's address may hold a password; the models are everybody's
        return any(file.parents[2].glob("opt/kdlight-edge/models/*.kdl"))


def unit_text(service: Service, program: str = PROGRAM, template: str = "") -> str:
    """Return the unit, or another of that file name, sealed with its digest so that a change by hand is seen."""
    body = shipped(template or service.template).replace(PROGRAM, program)
    return _SEAL.format(unit=template or service.instance, digest=_digest(body)) + body


def shipped(name: str) -> str:
    """Return a unit or a drop-in as it is shipped."""
    return importlib.resources.files("kdlight_devices").joinpath("units", name).read_text(encoding="utf-8")


def edited_by_hand(text: str) -> bool:
    """Tell whether a unit is not one that `unit_text` wrote, of this or of another version."""
    found = _SEALED.fullmatch(text)
    return found is None or found[1] != _digest(found[2])


def find_program(service: Service, executable: str) -> str:
    """Return the program that the unit shall start: of the environment that runs now, or for another system the usual.

    Raises:
        UsageError: the service could not read it there.
    """
    if service.root != Path("/"):
        return PROGRAM
    program = Path(executable).parent / "kdlight-edge"
    if not program.is_file():
        return _elsewhere()
    if any(str(path).startswith(UNREADABLE) for path in (program, Path(executable).resolve())):
        raise UsageError(
            f"{program} lies where a service may not read; make the environment in /opt: "
            "python3 -m venv /opt/kdlight-edge && /opt/kdlight-edge/bin/pip install 'kdlight-edge[runtime]'"
        )
    return str(program)


def _elsewhere() -> str:
    found = shutil.which("kdlight-edge")
    if found is None:
        raise UsageError("the program kdlight-edge is not on the PATH; run the one of its own environment")
    return found


def text_of(file: Path) -> str:
    """Return a file that a person may have edited, in whatever encoding: what is no UTF-8 is written back as it was."""
    return file.read_text(encoding="utf-8", errors="surrogateescape")


def read_settings(file: Path) -> dict[str, str]:
    """Return the variables of an environment file as `settings_text` writes it, or a person by hand.

    Raises:
        PermissionError: this user may not read it, as nobody but root may where `install` wrote it.
    """
    if not file.is_file():
        return {}
    lines = (line.strip() for line in text_of(file).splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith(("#", ";")))
    return {name.strip(): _unquoted(value.strip()) for name, _, value in pairs}


SETTINGS_HEAD = "# Settings of kdlight-edge; after a change: systemctl restart SERVICE. Flags: infer --help\n"


def settings_text(settings: Mapping[str, str], before: str = SETTINGS_HEAD) -> str:
    """Return an environment file of systemd; of the file ``before`` every other line stays, comments among them.

    Raises:
        UsageError: a value that no line can hold.
    """
    kept, left = [], dict(settings)
    for line in before.splitlines():
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or name not in settings:
            kept.append(line)
        elif name in left:  # of a variable that stands there twice the last one held, and one is enough
            wanted = left.pop(name)
            kept.append(line if _unquoted(value) == wanted else _setting(name, wanted))
    return "\n".join([*kept, *(_setting(name, value) for name, value in left.items())]) + "\n"


def _setting(name: str, value: str) -> str:
    if not value.isprintable():
        raise UsageError(f"{name} {value!r} holds characters that a settings file cannot")
    escaped = re.sub(r'(["\\$`])', r"\\\1", value)
    return f'{name}="{escaped}"'


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value[1:-1]
    return value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def first_camera() -> str:
    """Return the first USB camera by a name that stays, else the first device."""
    stable = sorted(Path("/dev/v4l/by-id").glob("*-video-index0"))
    return str(stable[0]) if stable else "/dev/video0"
