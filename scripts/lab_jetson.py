"""The set-up script of a Jetson on a board in a container: run for real, again, kept what a person changed, taken away.

What only a Jetson has is stood in for: its device tree, processor and udev, its release, its power mode, and JetPack's
Python packages. Everything else (users, environment, packages, unit, drop-ins, service) is real.
"""

from pathlib import Path

from scripts.lab_machine import Board, until
from scripts.lab_story import MODEL, ROOT, expect, record, say, serving, set_up, stand_in, story, versions

PERSON = "field"
DROP_INS = "/etc/systemd/system/kdlight-edge*.service.d/10-jetson.conf"
UNIT = "/etc/systemd/system/kdlight-edge.service"

JETPACK = """
set -e
echo '# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64' > /etc/nv_tegra_release
mkdir -p /var/lib/nvpmodel && echo 'pmode:0002' > /var/lib/nvpmodel/status
cd /usr/lib/python3/dist-packages
mkdir -p tensorrt cv2
echo '__version__ = "10.3.0"' > tensorrt/__init__.py
echo '__version__ = "4.8.0"; raise ImportError("built for another NumPy")' > cv2/__init__.py
getent group render >/dev/null || groupadd --system render
useradd --create-home FIELD
"""
"""What JetPack 6 puts into a system, as far as a set-up meets it; Debian's python3 looks into the same folder."""


def live(board: Board, wheels: Path) -> None:
    """Let it be set up, changed by hand, set up again and taken away."""
    board.power_on()
    board.copy(wheels, MODEL, ROOT / "devices")
    stand_in(board, "NVIDIA Jetson Orin Nano Developer Kit")
    board.ask(JETPACK.replace("FIELD", PERSON))
    without_sudo(board)
    service = f"--model {MODEL.name} --source scene:crack"
    told = set_up(board, "jetson.sh", wheels, service, SUDO_USER=PERSON)
    say("jetson.sh run for real: " + next(line for line in told.splitlines() if " takes " in line))
    until(serving(board, 0), "results")
    say(f"  {board.show()['StatusText']}")
    environment(board)
    unit(board)
    again(board, wheels, service)
    by_hand(board, wheels, service)
    found = versions(board)
    taken_away(board, wheels)
    record(found, "lab_jetson")


def without_sudo(board: Board) -> None:
    """Run it as a person who has no sudo: refused in one line, before anything is made."""
    board.ask("cp -r devices stand-ins /srv")
    command = (
        "PATH=/srv/stand-ins:$PATH KDLIGHT_BOARD_MODEL_FILE=/srv/stand-ins/model bash /srv/devices/setup/jetson.sh"
    )
    done = board.ask(f"su {PERSON} -c '{command}'", check=False)
    expect(done.returncode == 1 and "sudo is not here" in done.stderr, f"a missing sudo is told, not {done.stderr!r}")
    expect(board.ask("ls /opt").stdout == "", "nothing was made")
    say("without sudo: refused in one line, nothing made")


def environment(board: Board) -> None:
    """Look at what the environment sees, and whose it is."""
    program = (
        "import tensorrt, cv2, cuda.bindings.runtime; from kdlight_devices.fingerprint import fingerprint as f;"
        "print(tensorrt.__file__, tensorrt.__version__, cv2.__file__, f()['l4t'], f()['power_mode'])"
    )
    seen = board.ask(f'/opt/kdlight-edge/bin/python -c "{program}"').stdout.split()
    expect(seen[0].startswith("/usr/lib/python3/dist-packages/"), f"TensorRT is the system's, not {seen}")
    expect(seen[2].startswith("/opt/kdlight-edge/"), f"OpenCV is the environment's own, not {seen}")
    expect(seen[3:] == ["R36.4.3", "0002"], f"release and power mode are read, not {seen}")
    told = board.ask("/usr/local/bin/kdlight-edge doctor", check=False).stdout
    (line,) = (line for line in told.splitlines() if " tensorrt " in line)
    expect("no driver (libcuda.so.1)" in line, f"nothing is missing but the GPU, not {line!r}")
    say("TensorRT is the system's, OpenCV the environment's, CUDA is reached: doctor misses the GPU's driver alone")


def unit(board: Board) -> None:
    """Look at what systemd makes of the drop-ins, and at the groups of the person."""
    shown = board.ask("systemctl show kdlight-edge -p DeviceAllow,SupplementaryGroups,MemoryDenyWriteExecute").stdout
    for wanted in ("char-nvgpu rw", "/dev/nvmap rw", "char-video4linux rw", "video render", "Execute=no"):
        expect(wanted in shown, f"the unit has {wanted!r}, not {shown!r}")
    groups = board.ask(f"id -nG {PERSON}").stdout.split()
    expect({"video", "render"} <= set(groups), f"{PERSON} is in the groups, not {groups}")
    number = board.ask(f"ls {DROP_INS} | wc -l; cat {DROP_INS} | sort -u | grep -c nvgpu").stdout.split()
    expect(number == ["4", "1"], f"four units have the same drop-in, not {number}")
    say("the GPU's devices are open to service and updates; the person is in the groups video and render")


def again(board: Board, wheels: Path, service: str) -> None:
    """Run it a second time."""
    before = board.show()["MainPID"]
    told = set_up(board, "jetson.sh", wheels, service, SUDO_USER=PERSON)
    for word in ("-m venv", " tee ", "usermod", "cuda-bindings", "write /", "copy /"):
        expect(word not in told, f"a second set-up makes nothing again, not {told!r}")
    expect(board.show()["MainPID"] == before, "the service went on")
    say("run again: nothing is made twice, the service goes on")


def by_hand(board: Board, wheels: Path, service: str) -> None:
    """Edit the unit by hand: kept, told, also when all is taken away."""
    board.ask(f"cp {UNIT} /root/unit; sed -i 's/^RestartSec=1$/RestartSec=2/' {UNIT}")
    told = set_up(board, "jetson.sh", wheels, service, SUDO_USER=PERSON)
    expect(f"{UNIT} was edited by hand and is kept" in told, f"an edited unit is told, not {told!r}")
    expect(board.ask(f"grep -c ^RestartSec=2$ {UNIT}").stdout.strip() == "1", "it is kept")
    say("a unit edited by hand is kept and told")


def taken_away(board: Board, wheels: Path) -> None:
    """Take it all away: what a person edited stays and is told, nothing else does."""
    told = set_up(board, "jetson.sh", wheels, "--remove")
    expect(f"{UNIT} was edited by hand and is kept" in told, f"the edited unit is told, not {told!r}")
    board.ask(f"rm {UNIT}")
    places = "/etc /opt /usr /run/systemd /lib/systemd"
    left = board.ask(f"find {places} -name '*kdlight*' -not -path '*/dist-packages/*'", check=False).stdout.split()
    expect(left == [], f"nothing is left, not {left}")
    expect(board.show()["ActiveState"] == "inactive", "the service is gone")
    say("--remove: nothing is left but the edited unit, which is told, and what the service stored")


if __name__ == "__main__":
    raise SystemExit(story(live))
