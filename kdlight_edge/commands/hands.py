"""What changes a system for a service: writes and removes files whole, asks systemctl, and says what it does."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from kdlight_edge.errors import KDLightError
from kdlight_edge.unit import Service, edited_by_hand, text_of


class Hands:
    """Writes, removes and asks systemctl; says what it does, and with ``dry`` only that."""

    def __init__(self, service: Service, *, dry: bool) -> None:
        self.root = service.root
        self.here = service.root == Path("/")
        self.dry = dry
        self.changed = False
        """Whether a file is another now."""
        if self.here and not dry:
            need_root()
            need_systemd()

    def write(self, file: Path, text: str, mode: int = 0o644) -> None:
        """Make a file what it shall be, by one rename; one that is so already is left alone."""
        if file.is_file() and text_of(file) == text:
            self.say(f"{file} is as it should be")
            return
        self.do(f"write {file}")
        if self.dry:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.new")
        beside.unlink(missing_ok=True)
        with os.fdopen(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8", errors="surrogateescape"
        ) as content:
            content.write(text)
            content.flush()
            os.fsync(content.fileno())
        beside.replace(file)

    def keeps(self, unit: Path, mend: str) -> bool:
        """Tell whether a unit was edited by hand, so that it stays as it is; says so, and how to ``mend`` that."""
        if not unit.is_file() or not edited_by_hand(text_of(unit)):
            return False
        self.say(f"{unit} was edited by hand and is kept; {mend}")
        return True

    def copy_bundle(self, given: Path, place: Path) -> None:
        """Copy a bundle whole or not at all, also over another one."""
        from kdlight_edge import durable
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
        room = place.with_name(f".{place.name}.new")
        beside = room / place.name
        shutil.rmtree(beside, ignore_errors=True)
        room.mkdir(parents=True, exist_ok=True)
        shutil.copytree(given, beside, copy_function=shutil.copyfile)
        for path in (beside, *beside.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)  # read by the service's user, whoever copied it here
        open_bundle(beside)
        durable.sync_tree(beside)
        shutil.rmtree(room / "old", ignore_errors=True)
        durable.replace(beside, place)
        shutil.rmtree(room, ignore_errors=True)

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


def need_systemd() -> None:
    """Raise `KDLightError` where systemd does not run this system."""
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        raise KDLightError("systemd does not run this system; --root DIR writes the files for another one")


def need_root() -> None:
    """Raise `KDLightError` for a user who is not root, with what to type."""
    if os.geteuid() == 0:
        return
    again = " ".join([str(Path(sys.argv[0]).resolve()), *sys.argv[1:]])
    if shutil.which("sudo"):
        raise KDLightError(f"a service is installed by root; type: sudo {again}")
    raise KDLightError(f"a service is installed by root, and sudo is not here; type: su -c '{again}'")
