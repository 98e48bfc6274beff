"""A service on a board in a container, over ssh: install, hang, kill, power cut, bench, lost camera, uninstall.

usage: python3 -m scripts.lab_board LAB [--record]
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from scripts.lab_machine import Board, until
from scripts.lab_story import (
    MODEL,
    ROOT,
    expect,
    program,
    record,
    say,
    serving,
    set_up,
    stand_in,
    story,
    timed,
    versions,
)

WATCHDOG_SECONDS = 30
"""As in the units; a hang is over within this and two seconds more."""

BACK_SECONDS = 10
"""A power cut is over within this."""


def live(board: Board, wheels: Path) -> None:
    """Let the board live through everything."""
    say("power on to ssh", timed(board.power_on))
    board.copy(wheels, MODEL)
    say("environment and program installed", timed(lambda: install_program(board, wheels)))
    command = f"service install --model {MODEL.name} --source scene:crack"
    say("service install to ready", timed(lambda: program(board, command)))
    say("first results told", until(serving(board, 0), "results"))
    say(f"  {board.show()['StatusText']}")
    say(f"  runs as {board.ask('ps -o user= -p ' + board.show()['MainPID']).stdout.strip()}")
    again = program(board, command)
    expect("write " not in again and "copy " not in again, f"a second install changes nothing, not {again!r}")
    by_the_page(board)
    edited(board, command)
    second_camera(board)
    limits(board)
    hang(board)
    killed(board)
    power_cut(board)
    writes(board)
    measured(board, wheels)
    lost_camera(board)
    found = versions(board)
    uninstall(board, wheels)
    record(found, "lab_board")


def install_program(board: Board, wheels: Path) -> None:
    """Run the set-up script of a Raspberry Pi; a second run leaves all as it is."""
    board.copy(ROOT / "devices")
    stand_in(board, "Raspberry Pi 4 Model B Rev 1.5")
    told = set_up(board, "raspberry-pi.sh", wheels).splitlines()
    say("  " + next(line for line in told if " takes " in line))
    again = set_up(board, "raspberry-pi.sh", wheels)
    expect("venv" not in again and " tee " not in again, f"a second set-up makes nothing again, not {again!r}")
    say("set-up script run for real, and again: nothing is made twice")


def by_the_page(board: Board) -> None:
    """Type what docs/raspberry-pi.md tells a person to type."""
    typed = {
        "doctor": "ready",
        f"verify {MODEL.name}": "equal",
        f"infer --camera scene:crack --model {MODEL.name} --frames 20": "",
        "service status": "frames/s",
        "service logs --lines 5": "",
    }
    for words, wanted in typed.items():
        done = board.ask(f"/opt/kdlight-edge/bin/kdlight-edge {words}")
        expect(wanted in done.stdout, f"kdlight-edge {words} tells {wanted!r}, not {done.stdout!r}")
    say(f"typed as the page has it: {', '.join(words.split(' -')[0] for words in typed)}")


def edited(board: Board, command: str) -> None:
    """Edit unit and settings by hand: both are kept, and that is told."""
    unit, settings = "/etc/systemd/system/kdlight-edge.service", "/etc/kdlight-edge/kdlight-edge.env"
    board.ask(f"cp {unit} /root/unit; sed -i 's/^RestartSec=1$/RestartSec=2/' {unit}; echo '# mine' >> {settings}")
    told = program(board, f"{command} --options '--max-age 5'")
    expect("was edited by hand and is kept" in told, f"an edited unit is told, not {told!r}")
    kept = board.ask(f"grep -c RestartSec=2 {unit}; grep -c '# mine' {settings}").stdout.split()
    expect(kept == ["1", "1"], f"what was edited is kept, not {kept}")
    told = board.ask("/opt/kdlight-edge/bin/kdlight-edge doctor", check=False).stdout
    expect("edited by hand" in told, f"doctor tells of the edited unit, not {told!r}")
    board.ask(f"cp /root/unit {unit}")
    program(board, f"{command} --options ''")
    until(serving(board, 0), "results")
    say("unit and settings edited by hand: kept, told by install and by doctor")


def second_camera(board: Board) -> None:
    """Give the board a second camera with a service of its own, and take that away again."""
    first = board.show()["MainPID"]
    program(board, f"service install --name yard --model {MODEL.name} --source scene:crack?fps=5")
    until(lambda: "frames/s" in board.show("kdlight-edge@yard.service").get("StatusText", ""), "results of the second")
    users = {board.show(unit)["User"] for unit in ("kdlight-edge.service", "kdlight-edge@yard.service")}
    expect(len(users) == 2, f"each has a user of its own, not {users}")  # noqa: PLR2004 - two cameras
    program(board, "service uninstall --name yard --purge")
    expect(board.show("kdlight-edge@yard.service")["ActiveState"] == "inactive", "the second is gone")
    expect(board.show()["MainPID"] == first, "the first went on")
    say("a second camera with a service of its own, taken away again; the first went on")


def limits(board: Board) -> None:
    """Tell whether the kernel holds the service to its limit of memory here."""
    limit = board.ask("systemctl show kdlight-edge --property=MemoryMax --value").stdout.strip()
    expect(limit.isdigit(), f"the unit has a limit of memory, not {limit!r}")
    if "memory" not in board.ask("cat /sys/fs/cgroup/cgroup.controllers").stdout.split():
        say(f"  MemoryMax is {int(limit) // 1_000_000:,} MB; not enforced here: no memory controller in this container")
        return
    held = board.ask("cat /sys/fs/cgroup/system.slice/kdlight-edge.service/memory.max").stdout.strip()
    expect(held == limit, f"the kernel holds it to MemoryMax={limit}, not {held}")
    say(f"  the kernel holds the service to {int(limit) // 1_000_000:,} MB")


def hang(board: Board) -> None:
    """Stop the engine's process: the watchdog must see it."""
    board.ask(f"kill -STOP {board.show()['MainPID']}")
    stopped = time.monotonic()
    until(lambda: board.show().get("NRestarts") == "1", "the watchdog", WATCHDOG_SECONDS + 10)
    seconds = time.monotonic() - stopped
    say(f"SIGSTOP to restarted by the watchdog (WatchdogSec={WATCHDOG_SECONDS})", seconds)
    expect(seconds < WATCHDOG_SECONDS + 2, "a hang is over within WatchdogSec + 2 s")
    say("  to results again", until(serving(board, 1), "results"))
    log = board.ask("journalctl -u kdlight-edge --no-pager").stdout
    expect("Watchdog timeout" in log, "the journal names the watchdog")
    expect("Fatal Python error: Aborted" in log, "the journal tells where it hung")


def killed(board: Board) -> None:
    """Kill the process."""
    board.ask(f"kill -9 {board.show()['MainPID']}")
    say("kill -9 to results again", until(serving(board, 2), "results"))


def power_cut(board: Board) -> None:
    """Pull the plug and put it in again."""
    board.cut_power()
    started = time.monotonic()
    board.power_on()
    until(serving(board, 0), "results")
    seconds = time.monotonic() - started
    say("power cut: power on to results told", seconds)
    expect(seconds < BACK_SECONDS, f"a power cut is over in {BACK_SECONDS} s")
    shown = board.show()
    expect(shown["Result"] == "success", "the service came back by itself")


def writes(board: Board) -> None:
    """Count what the service writes to the disk while it works."""

    def written() -> int:
        text = board.ask(f"cat /proc/{board.show()['MainPID']}/io").stdout
        return int(text.split("\nwrite_bytes:")[1].split()[0])

    first = written()
    time.sleep(10)  # a span of work to count in, not a wait for something
    say(f"bytes written to disk: {first:,} by the start, {written() - first:,} in 10 s of work")


def measured(board: Board, wheels: Path) -> None:
    """Measure it from the desk: with the link cut, and with the power cut, in the middle of a scenario."""
    before = board.ask("find / -xdev -name '*kdlight-bench*'").stdout
    started = time.monotonic()
    first = bench(board, wheels, "--patience", "3")
    until(lambda: board.ask("ls /root/kdlight-bench-*/out/c.boot", check=False).returncode == 0, "scenario c", 300)
    say("bench_on_board: environment made, scenario a measured", time.monotonic() - started)
    board.cut_link()
    _, said = first.communicate()
    expect(first.returncode == 1 and "finished: a; missing: c, d" in said, f"it tells what is missing, not {said!r}")
    say("  link cut in scenario c: told what is missing")
    board.mend_link()
    started = time.monotonic()
    second = bench(board, wheels, "--patience", "120", "--resume")
    until(lambda: board.ask("ls /root/kdlight-bench-*/out/d.boot", check=False).returncode == 0, "scenario d", 300)
    board.cut_power()
    board.power_on()
    _, said = second.communicate()
    expect(second.returncode == 0, f"it goes on after a reboot, not {said!r}")
    expect("scenario a" not in said, "what was finished is not measured again")
    expect("scenario d ended with the board; begun again" in said, f"it tells of the reboot, not {said!r}")
    say("  resumed, power cut in scenario d: measured to its end", time.monotonic() - started)
    record = json.loads((board.folder / "bench/bench.json").read_text())
    expect([trial["scenario"] for trial in record["trials"]] == ["a", "c", "d"], "every scenario is there")
    expect(
        all(fault["answered"] == 0 for fault in record["trials"][1]["figures"]["camera"]["faults"]), "no stale answer"
    )
    after = board.ask("find / -xdev -name '*kdlight-bench*'").stdout
    expect(not record["left"] and before == after == "", f"nothing is left on the board, not {record['left']}")
    say("  nothing is left on the board")
    until(serving(board, 0), "results")


def bench(board: Board, wheels: Path, *flags: str) -> "subprocess.Popen[str]":
    """Start a benchmark of the board."""
    script = [sys.executable, str(ROOT / "scripts/bench_on_board.py"), "-F", str(board.config), "--host", "board"]
    what = ["--model", str(MODEL), "--wheels", str(wheels), "--out", str(board.folder / "bench")]
    wheel = next(wheels.glob("kdlight_edge-*.whl"))
    budget = board.folder / "budget.json"  # speed under this much disturbance is no verdict
    budget.write_text('{"bundle_mb": 8, "rss_mb": 200}')
    how = ["--scenario", "a,c,d", "--quick", "--seconds", "12", "--wheel", str(wheel), "--budget", str(budget)]
    command = [*script, *what, *how, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def lost_camera(board: Board) -> None:
    """Give it a camera that is not there: it must stay ready by golden pictures, without a restart."""
    program(board, "service install --source http://127.0.0.1:9/none.mjpg")
    until(lambda: "no camera" in board.show().get("StatusText", ""), "the status of a lost camera")
    say(f"  {board.show()['StatusText']}")
    time.sleep(WATCHDOG_SECONDS + 5)  # longer than the watchdog lets a silent service live
    shown = board.show()
    expect(shown["NRestarts"] == "0" and shown["ActiveState"] == "active", f"no restart without a camera, not {shown}")
    say(f"no camera for {WATCHDOG_SECONDS + 5} s: no restart, the engine is proved by golden pictures")


def uninstall(board: Board, wheels: Path) -> None:
    """Take everything away: the service with what it stored, then what the set-up script made."""
    program(board, "service uninstall --purge")
    set_up(board, "raspberry-pi.sh", wheels, "--remove")
    left = board.ask("find /etc /var/lib /opt /usr/local -name '*kdlight*' 2>/dev/null", check=False).stdout
    expect(not left.strip(), f"nothing is left, not {left!r}")
    expect(board.show()["ActiveState"] == "inactive", "the service is gone")
    say("uninstalled; nothing is left")


if __name__ == "__main__":
    raise SystemExit(story(live))
