"""What the stories of a board in a container share: how they are told, what is expected, and what is kept of them."""

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kdlight_devices.fingerprint import describe, fingerprint
from scripts.lab_machine import Board, cleaned_up

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/surface-crack.kdl"
RESULTS = ROOT / "docs/results"

STEPS: list[dict[str, Any]] = []
"""What was said, for the record."""

CONSOLE: list[str] = []
"""What a person would have seen, for the record."""


def say(what: str, seconds: float | None = None) -> None:
    """Print one line of the log."""
    STEPS.append({"step": what.strip(), "seconds": None if seconds is None else round(seconds, 2)})
    print(f"{what:<62}" + ("" if seconds is None else f"{seconds:8.2f} s"), flush=True)


def expect(truth: object, what: str) -> None:
    """End with a failure unless something is so."""
    if not truth:
        raise SystemExit(f"FAILED: {what}")


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


def program(board: Board, arguments: str) -> str:
    """Run kdlight-edge on the board and return what it told."""
    return board.ask(f"/opt/kdlight-edge/bin/kdlight-edge {arguments}").stderr


def stand_in(board: Board, model: str) -> None:
    """Let a container be the board of that name for a set-up script: its device tree, processor and udev."""
    board.ask(
        f"mkdir -p stand-ins; printf '{model}' > stand-ins/model;"
        ' printf \'#!/bin/sh\\n[ "$1" = -m ] && echo aarch64 || exec /bin/uname "$@"\\n\' > stand-ins/uname;'
        " printf '#!/bin/sh\\n' > stand-ins/udevadm; chmod +x stand-ins/uname stand-ins/udevadm"
    )


def set_up(board: Board, script: str, wheels: Path, flags: str = "", **environ: str) -> str:
    """Run a set-up script for real on a board that `stand_in` made one, from the wheels brought along."""
    given = " ".join(f"{name}={value}" for name, value in environ.items())
    command = f"bash devices/setup/{script} --wheel {wheels.name}/kdlight_edge-*.whl --wheels {wheels.name} {flags}"
    return board.ask(
        f'PATH="$PWD/stand-ins:$PATH" KDLIGHT_BOARD_MODEL_FILE=stand-ins/model {given} {command} 2>&1'
    ).stdout


def serving(board: Board, restarts: int) -> Callable[[], bool]:
    """Return a question: does the service give results, after so many restarts?"""

    def ask() -> bool:
        shown = board.show()
        return (
            shown.get("ActiveState") == "active"
            and shown["NRestarts"] == str(restarts)
            and "frames/s" in shown["StatusText"]
        )

    return ask


def show(board: Board, arguments: str) -> str:
    """Run kdlight-edge on the board as a person would; keep what is seen, and return it."""
    done = board.ask(f"/opt/kdlight-edge/bin/kdlight-edge {arguments} 2>&1", check=False)
    CONSOLE.append(f"$ sudo kdlight-edge {arguments}\n{done.stdout.rstrip()}")
    return done.stdout


def versions(board: Board) -> dict[str, str]:
    """Return what is installed on the board, as long as it is."""
    lines = board.ask(
        "/opt/kdlight-edge/bin/python -c 'from kdlight_devices.fingerprint import versions; import json;"
        " print(json.dumps(versions()))'; systemctl --version | head -n 1"
    ).stdout.splitlines()
    return {**json.loads(lines[0]), "systemd": lines[1].removeprefix("systemd ")}


def record(found: dict[str, str], story: str, command: str = "scripts/lab-board --record") -> None:
    """Write what was seen with these versions, where that is wanted."""
    if "--record" not in sys.argv:
        return
    known = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": describe(fingerprint()),
        "versions": found,
        "steps": STEPS,
        **({"console": "\n".join(CONSOLE)} if CONSOLE else {}),
    }
    (RESULTS / f"{story}.json").write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def story(
    live: Callable[[Board, Path], None],
    machine: type[Board] = Board,
    system: str = "board",
    wheels: str = "wheels-x86",
) -> int:
    """Let a new board live, and take it away whatever happens; 1 when something is not as it should be."""
    lab = Path(sys.argv[1])
    with cleaned_up() as folder:
        board = machine(lab / system, folder)
        try:
            live(board, lab / wheels)
        except KeyboardInterrupt:
            print("stopped; nothing is left of it", file=sys.stderr)
            return 130
        except BaseException:
            console = (folder / "console").read_text(errors="replace") if (folder / "console").exists() else ""
            journal = board.ask("journalctl --no-pager -n 60 -u 'kdlight-edge*'", check=False).stdout
            print(console[-2000:], journal, json.dumps(board.show()), sep="\n", file=sys.stderr)
            raise
        finally:
            board.cut_power()
    say("all of it passed")
    return 0
