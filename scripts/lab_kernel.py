"""What only a kernel of its own shows of a service: limits enforced, devices closed, its camera, a power cut.

usage: python3 -m scripts.lab_kernel LAB [--record]
"""

import time
from pathlib import Path

from scripts.lab_emulated import Emulated
from scripts.lab_machine import Board, until
from scripts.lab_story import MODEL, expect, program, record, say, serving, story, timed, versions

BIN = "/opt/kdlight-edge/bin"
CGROUP = "/sys/fs/cgroup/system.slice/kdlight-edge.service"
DRIVER = "/sys/bus/platform/drivers/vivid"
REPOSITORY = "/srv/walls"
SLOW = 300.0
"""Seconds to wait for what an emulated processor does."""

NEXT = f"""
import dataclasses
from kdlight_edge.bundle import open_bundle, write_bundle
bundle = open_bundle("/root/{MODEL.name}")
manifest = dataclasses.replace(bundle.manifest, version="1.1", budgets={{}})
files = {{file.name: file.read_bytes() for file in bundle.path.iterdir() if file.name != "manifest.json"}}
write_bundle("/root/next.kdl", manifest, files)
"""
"""Makes the same network a higher version, for any board; an emulated processor keeps no budget."""

KEPT_AT_MOST = 600
"""The unit allows 100 lines in 30 s; journald multiplies that by up to six where its disk has room."""

FLOOD = "import syslog; [syslog.syslog(f'line {n}') for n in range(3000)]"
GREEDY = "b = bytearray(600_000_000)"


def live(board: Board, wheels: Path) -> None:
    """Let the machine live through everything."""
    say("power on to ssh", timed(board.power_on))
    board.copy(next(wheels.glob("kdlight_edge-*.whl")), MODEL)
    board.ask(f"{BIN}/pip install --quiet --no-index --no-deps kdlight_edge-*.whl")
    say(f"  Debian {board.ask('cat /etc/debian_version').stdout.strip()}, {board.ask('uname -sr').stdout.strip()}")
    board.ask("modprobe vivid n_devs=1 node_types=0x1 && udevadm settle")
    command = f"service install --model {MODEL.name} --source /dev/video0"
    say("service install to ready, with a camera of the kernel", timed(lambda: program(board, command)))
    back(board, 0)
    say(f"  {board.show()['StatusText']}")
    devices(board)
    doctor(board)
    unplugged(board)
    memory(board)
    log(board)
    back_off(board)
    power_cut(board)
    record(versions(board), "lab_kernel", "scripts/lab-kernel --record")


def back(board: Board, restarts: int) -> float:
    """Wait until the service gives results after so many restarts; return the seconds."""
    return until(serving(board, restarts), "results", SLOW)


def inside(board: Board, command: str) -> str:
    """Run a command as root under the limits of the service, and return what it told."""
    done = board.ask(f"sh -s 2>&1 <<'END'\necho $$ > {CGROUP}/cgroup.procs\nexec {command}\nEND", check=False)
    return f"{done.stdout} ended with {done.returncode}"


def devices(board: Board) -> None:
    """Open devices under the unit's policy: the camera's is let through, the disk's is not, even for root."""
    expect(board.ask("head -c 1 /dev/vda | wc -c").stdout.strip() == "1", "root may read the disk")
    refused = inside(board, "head -c 1 /dev/vda")
    expect("Operation not permitted" in refused, f"the disk is closed to the service, not {refused!r}")
    allowed = inside(board, "dd if=/dev/video0 count=0 status=none")
    expect("ended with 0" in allowed, f"the camera is open to the service, not {allowed!r}")
    user = board.ask(f"ps -o user= -p {board.show()['MainPID']}").stdout.strip()
    expect(user not in {"root", "0"}, "it is not root")
    say(f"device policy: the kernel refuses /dev/vda to the unit, even to root, and lets /dev/video0 through ({user})")


def doctor(board: Board) -> None:
    """Let doctor find who has the camera, and a person without the group; type what it says mends that."""
    told = board.ask(f"{BIN}/kdlight-edge doctor", check=False).stdout
    number = board.show()["MainPID"]
    expect(f"/dev/video0 is taken by process {number} (kdlight-edge)" in told, f"who has the camera, not {told!r}")
    board.ask("useradd field")
    ask = f"runuser -u field -- {BIN}/kdlight-edge doctor"
    told = board.ask(f"cd / && {ask}", check=False).stdout
    expect(
        "a camera may not be opened by this user" in told and "usermod -aG video" in told, f"the group, not {told!r}"
    )
    board.ask("usermod -aG video field")
    told = board.ask(f"cd / && {ask}", check=False).stdout
    expect("may not be opened" not in told, f"the group is mended, not {told!r}")
    say("doctor names the process that has the camera, and the missing group; what it says mends it")


def unplugged(board: Board) -> None:
    """Take the camera away and bring it again: its device file goes and comes."""
    board.ask(f"echo vivid.0 > {DRIVER}/unbind && udevadm settle && ! ls /dev/video* 2>/dev/null")
    until(lambda: "no camera" in board.show().get("StatusText", ""), "the status of a lost camera", SLOW)
    board.ask(f"echo vivid.0 > {DRIVER}/bind && udevadm settle")
    say("camera unplugged and in again: results again without a restart", back(board, 0))


def memory(board: Board) -> None:
    """Lower the limit of memory, let a process of the unit take more, and see the kernel end it."""
    board.ask(
        "mkdir -p /run/systemd/system/kdlight-edge.service.d; printf '[Service]\\nMemoryMax=250M\\n'"
        " > /run/systemd/system/kdlight-edge.service.d/90-lab.conf; systemctl daemon-reload"
    )
    program(board, "service install --options '--max-age 5'")  # a change restarts it
    back(board, 0)
    expect(board.ask(f"cat {CGROUP}/memory.max").stdout.strip() == "262144000", "the kernel has the limit")
    before = board.show()["MainPID"]
    greedy = inside(board, f'python3 -c "{GREEDY}"')
    expect("ended with 137" in greedy, f"who takes more is killed, not {greedy!r}")
    say("a process of the unit takes more than MemoryMax: killed by the kernel; to results again", back(board, 1))
    told = board.ask("journalctl -u kdlight-edge -o cat --no-pager").stdout
    expect("has been killed by the OOM killer" in told, "the journal names the kernel")
    expect("Failed with result 'oom-kill'" in told, f"the result is oom-kill, not {told!r}")
    expect(board.show()["MainPID"] != before, "it was started anew")
    board.ask(
        "rm -r /run/systemd/system/kdlight-edge.service.d; systemctl daemon-reload; systemctl restart kdlight-edge"
    )
    back(board, 0)


def log(board: Board) -> None:
    """Flood the journal from within the unit: it keeps a bounded part."""
    inside(board, f'python3 -c "{FLOOD}"')
    kept = int(board.ask("sleep 2; journalctl -u kdlight-edge -o cat --no-pager | grep -c ^line", check=False).stdout)
    expect(0 < kept <= KEPT_AT_MOST, f"a flood of lines is bounded, not {kept}")
    say(f"of 3,000 lines at once the journal kept {kept}")


def back_off(board: Board) -> None:
    """Kill it again and again: each restart in a row is later, up to a bound."""
    waits = []
    for restarts in range(1, 4):
        board.ask("systemctl kill --signal=KILL kdlight-edge")
        back(board, restarts)
        waits.append(board.ask("systemctl show kdlight-edge -p RestartUSecNext --value").stdout.strip())
    bound = board.ask("systemctl show kdlight-edge -p RestartMaxDelayUSec --value").stdout.strip()
    expect(len(set(waits)) == len(waits), f"each waits longer, not {waits}")
    say(f"killed three times: the next restart waits {', '.join(waits)}, at most {bound}")
    board.ask("systemctl reset-failed kdlight-edge")


def power_cut(board: Board) -> None:
    """Pull the plug right after an update has switched: what was promised must be on the disk."""
    program(board, f"update init-repo --repo {REPOSITORY} --repo-keys /root/keys")
    board.ask(f"install -D {REPOSITORY}/metadata/1.root.json /etc/kdlight-edge/root.json")
    board.ask(f"{BIN}/python - <<'END'{NEXT}END")
    told = board.ask(f"{BIN}/kdlight-edge update publish --repo {REPOSITORY} --repo-keys /root/keys /root/next.kdl")
    version = told.stdout.strip()
    board.ask("sync")  # what the publisher and this story made; the update has to see to its own
    program(board, f"update --from {REPOSITORY} --board other --probation 5")
    board.cut_power()
    began = time.monotonic()
    board.power_on()
    board.ask("modprobe vivid n_devs=1 node_types=0x1")
    until(lambda: "frames/s" in board.show().get("StatusText", ""), "results", SLOW)
    serves = board.ask(f"{BIN}/kdlight-edge update status").stdout
    expect(f"serves: {version}" in serves, f"what was switched to serves, not {serves!r}")
    say("plug pulled as soon as an update said that it is in its place: results of it", time.monotonic() - began)


if __name__ == "__main__":
    raise SystemExit(story(live, Emulated, "kernel", "wheels-313"))
