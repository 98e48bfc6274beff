"""Updates of a service on a board in a container: applied, rolled back by itself, cut off by pulling the plug."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scripts.lab_machine import Board, broker, until
from scripts.lab_story import CONSOLE, MODEL, expect, program, record, say, show, story, timed, versions

BIN = "/opt/kdlight-edge/bin"
REPOSITORY = "/srv/walls"

NEXT = f"""
import dataclasses, sys
from kdlight_edge.bundle import open_bundle, write_bundle
bundle = open_bundle("/root/{MODEL.name}")
manifest = dataclasses.replace(bundle.manifest, version=sys.argv[1])
files = {{file.name: file.read_bytes() for file in bundle.path.iterdir() if file.name != "manifest.json"}}
write_bundle("/root/next.kdl", manifest, files)
"""
"""Makes the same network a higher version."""

CUTS = (0.3, 1.0, 2.0, 3.0)
"""Seconds after the start of an update at which the plug is pulled."""


def live(board: Board, wheels: Path) -> None:
    """Let the board live through its updates."""
    board.power_on()
    board.copy(wheels, MODEL)
    board.ask("python3 -m venv /opt/kdlight-edge")
    pip = f"{BIN}/pip install --quiet --no-index --find-links {wheels.name} 'kdlight-edge[runtime,mqtt,update]'"
    board.ask(pip)
    say(f"/opt/kdlight-edge with updates takes {board.ask('du -sm /opt/kdlight-edge').stdout.split()[0]} MB")
    program(board, f"update init-repo --repo {REPOSITORY} --repo-keys /root/keys")
    board.ask(f"install -D {REPOSITORY}/metadata/1.root.json /etc/kdlight-edge/root.json")
    # The budget of this machine's processor is for a network that has it for itself, which a test machine has not.
    command = f"service install --model {MODEL.name} --source scene:crack --update-from {REPOSITORY}"
    program(board, command)
    probation(board, 5)
    until(lambda: status(board)["alive"], "the service")
    applied(board)
    probation(board, 300)  # so long that a slow machine still finds the version on it
    fallen(board)
    hung(board)
    probation(board, 5)
    with broker(board) as (address, log):
        asked(board, address, log)
        kept(board, address, log)
        program(board, "service install --options ''")
    by_hand(board)
    cut_off(board)
    record(versions(board), "lab_update")


def probation(board: Board, seconds: int) -> None:
    """Set how long the versions to come must work before they count as good."""
    options = f"--board x86 --probation {seconds}"
    line = f'KDLIGHT_UPDATE_OPTIONS="{options}"'
    board.ask(f"sed -i 's/^KDLIGHT_UPDATE_OPTIONS=.*/{line}/' /etc/kdlight-edge/kdlight-edge.env")


def status(board: Board) -> dict[str, Any]:
    """Return what the board tells of its versions."""
    told: dict[str, Any] = json.loads(board.ask(f"{BIN}/kdlight-edge update status --json").stdout)
    return told


def offer(board: Board, version: str) -> str:
    """Publish a version on the board itself; return its name."""
    board.ask(f"{BIN}/python - {version} <<'END'{NEXT}END")
    told = board.ask(f"{BIN}/kdlight-edge update publish --repo {REPOSITORY} --repo-keys /root/keys /root/next.kdl")
    return told.stdout.strip()


def runs(board: Board, version: str | None) -> float:
    """Wait until the service runs a version and gives results; return the seconds."""

    def ask() -> bool:
        told = status(board)
        return bool(told["alive"]) and told["running"] == version and "frames/s" in board.show().get("StatusText", "")

    return until(ask, f"{version} at work")


def proved(board: Board, version: str) -> None:
    """Wait until a version has proved itself."""
    until(lambda: version in status(board)["good"], f"the proof of {version}")


def applied(board: Board) -> None:
    """Let the unit of the timer bring an update."""
    version = offer(board, "1.1")
    say("update unit started to switched", timed(lambda: board.ask("systemctl start kdlight-edge-update.service")))
    say("  to results of the new version", runs(board, version))
    proved(board, version)
    shown = board.show()
    expect(shown["Result"] == "success", f"the service ended in order, not {shown}")
    say("  proved; the service and its updates run as one user, which is not root")
    owner = board.ask("stat -L -c %U%u /var/lib/kdlight-edge /var/lib/kdlight-edge/update/ledger.json").stdout.split()
    expect(len(set(owner)) == 1 and "root0" not in owner, f"one owner of the state, not {owner}")


def fallen(board: Board) -> None:
    """Kill a version on probation: the one before must come back by itself."""
    good = status(board)["serves"]
    bad = offer(board, "1.2")
    board.ask("systemctl start kdlight-edge-update.service")
    runs(board, bad)
    board.ask(f"kill -9 {board.show()['MainPID']}")
    say("version on probation killed to results of the one before", runs(board, good))
    expect(status(board)["failed"] == [bad], "the failed version is remembered")
    refused = board.ask("systemctl start kdlight-edge-update.service", check=False)
    expect(refused.returncode, "the failed version is not taken again")
    show(board, "update status")
    by_root = show(board, f"update --from {REPOSITORY} --board x86")
    expect(f"{bad} was rolled back here before; --again tries it once more" in by_root, f"nor by root: {by_root}")


def hung(board: Board) -> None:
    """Stop a version on probation: the watchdog ends it, and the one before comes back."""
    good = status(board)["serves"]
    bad = offer(board, "1.3")
    board.ask("systemctl start kdlight-edge-update.service")
    runs(board, bad)
    board.ask(f"kill -STOP {board.show()['MainPID']}")
    say("version on probation hung to results of the one before (WatchdogSec=30)", runs(board, good))


def asked(board: Board, address: str, log: Path) -> None:
    """Ask for an update by a message over MQTT, and see on the board's topics what came of it."""
    options = f"--mqtt mqtt://{address} --mqtt-device wall --mqtt-update"
    program(board, f"service install --options '{options}'")
    until(lambda: row(address).get("state") == "online", "the board on its broker")
    version = offer(board, "1.4")
    command = ["ask", "wall", "update", "--broker", address]
    began = time.monotonic()
    answer = json.loads(fleet(*command).stdout)
    expect(answer["state"] == "begun", f"the command is obeyed, not {answer}")
    until(lambda: row(address).get("version") == "1.4", "the new version on the topic")
    say("asked for by MQTT to figures of the new version on the topic", time.monotonic() - began)
    states = [told for topic, told in messages(log) if topic == "kdlight/wall/status"]
    expect([told["state"] for told in states[-2:]] == ["offline", "online"], f"left and came back, not {states}")
    expect(states[-1]["bundle"]["version"] == "1.4", f"the status names the version, not {states[-1]}")
    proved(board, version)


def kept(board: Board, address: str, log: Path) -> None:
    """Count what is written while the broker answers; kill the service twice while it does not: nothing is lost."""
    first = written(board)
    time.sleep(10)  # a span of work to count in
    say(f"  bytes written to disk with --mqtt while the broker answers: {written(board) - first:,} in 10 s of work")
    before = len(results(log))
    number = int(log.with_name("mosquitto.pid").read_text())
    os.kill(number, signal.SIGSTOP)
    for _ in range(2):
        time.sleep(8)  # results pile up: some in memory, some on the disk
        board.ask(f"kill -9 {board.show()['MainPID']}")
        until(lambda: "frames/s" in board.show().get("StatusText", ""), "results")
    os.kill(number, signal.SIGCONT)
    last = int(time.time())
    until(lambda: delivered(row(address), last), "the delivery")
    numbers = list(dict.fromkeys(results(log)))
    expect(numbers == list(range(numbers[0], numbers[0] + len(numbers))), "every result is there once, and in order")
    say(f"killed twice while the broker stood still: {len(results(log)) - before:,} results, none lost, in order")


def delivered(told: dict[str, Any], since: int) -> bool:
    """Tell whether figures newer than a time say that no more waits than is on its way in a second."""
    return bool(told.get("heard_s", since) < time.time() - since and told["waiting"] < told["fps"])


def written(board: Board) -> int:
    """Return what the service has written to the disk."""
    text = board.ask(f"cat /proc/{board.show()['MainPID']}/io").stdout
    return int(text.split("\nwrite_bytes:")[1].split()[0])


def fleet(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run ``kdlight-edge fleet`` at the desk."""
    command = [sys.executable, "-m", "kdlight_edge.cli", "fleet", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def row(address: str) -> dict[str, Any]:
    """Return what the fleet's table says of the board; empty before it has spoken."""
    told = fleet("status", "--json", "--broker", address)
    expect("pip install" not in told.stderr, f"the desk has all it needs: {told.stderr.strip()}")
    lines = told.stdout.splitlines()
    found: dict[str, Any] = json.loads(lines[0]) if lines else {}
    return found


def messages(log: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return topic and content of every message that a subscriber has had."""
    lines = [line.split(" ", 1) for line in log.read_text().split("\n")[:-1]]
    return [(line[0], json.loads(line[1])) for line in lines]


def results(log: Path) -> list[int]:
    """Return the numbers of all results and events, in the order in which they came."""
    numbered = (told for topic, told in messages(log) if topic.endswith(("/result", "/event")))
    return [int(told["id"].rpartition("-")[2]) for told in numbered]


def by_hand(board: Board) -> None:
    """Take a signed file as root, and roll it back."""
    good = status(board)["serves"]
    board.ask(f"{BIN}/python - 1.5 <<'END'{NEXT}END")
    program(board, "bundle keygen field --out /root/keys")
    board.ask("install -D /root/keys/field.pub /etc/kdlight-edge/keys/field.pub")
    program(board, "bundle sign /root/next.kdl --key /root/keys/field.key --out /srv/wall.kdl.tar")
    show(board, "bundle show /srv/wall.kdl.tar")
    told = program(board, "update --from /srv/wall.kdl.tar --shadow 30 --board x86 --probation 5 --wait")
    CONSOLE.append(
        f"$ sudo kdlight-edge update --from /srv/wall.kdl.tar --shadow 30 --probation 5 --wait\n{told.rstrip()}"
    )
    show(board, "update status")
    expect("30 of 30 decisions are the same" in told, f"the shadow decided alike, not {told!r}")
    say("a signed file, in the shadow for 30 frames, taken by root and proved")
    show(board, "update rollback")
    say("rolled back by a person to results of the one before", runs(board, good))


def cut_off(board: Board) -> None:
    """Pull the plug while an update is at work, at several moments."""
    good = status(board)["serves"]
    version = offer(board, "1.6")
    for seconds in CUTS:
        board.ask("systemctl start --no-block kdlight-edge-update.service")
        time.sleep(seconds)  # the moment of the cut, not a wait for something
        board.cut_power()
        began = time.monotonic()
        board.power_on()
        until(lambda: status(board)["alive"] and "frames/s" in board.show().get("StatusText", ""), "results")
        running = status(board)["running"]
        expect(running in {good, version}, f"one of the two versions runs, not {running}")
        which = "the old" if running == good else "the new"
        say(f"plug pulled {seconds} s into an update: power on to results of {which}", time.monotonic() - began)
        until(lambda: board.show("kdlight-edge-update.service").get("ActiveState") != "activating", "the update's end")
    board.ask("systemctl start kdlight-edge-update.service", check=False)
    runs(board, version)
    proved(board, version)
    say("the update was taken in the end")


if __name__ == "__main__":
    raise SystemExit(story(live))
