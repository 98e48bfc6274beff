"""Cuts an action off before each of its changes of the disk, by SIGKILL, and tells what the device does afterwards.

Run by test_cut_off.py in a process of its own, which forks for each cut before any engine was opened.
usage: cut_off.py ACTION STATE REPOSITORY FACTORY     prints one JSON object a cut
"""

import builtins
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdlight_devices.workstation import OTHER
from kdlight_edge.classifier import open_classifier
from kdlight_edge.update import ledger
from kdlight_edge.update.apply import Order, apply, roll_back
from kdlight_edge.update.serving import open_serving
from kdlight_edge.update.state import State

CHANGES = ("fsync", "replace", "rename", "symlink", "unlink", "mkdir", "rmdir")
"""Functions of `os` by which the disk is changed or made sure of; opening a file to write is counted too."""


def silent(line: str) -> None:
    """Say nothing."""
    del line


def serve(state: State, factory: str) -> str:
    """Start as the service does; return the version that answers."""
    classifier, version = open_serving(state, factory, open_classifier, silent)
    with classifier:
        classifier.verify()
    return version or "factory"


def update(state: State, repository: Path, factory: str) -> None:
    """Take what the repository offers."""
    del factory
    root = repository / "metadata/1.root.json"
    apply(state, Order(str(repository), repository, root, board=OTHER), silent)


def fall(state: State, repository: Path, factory: str) -> None:
    """Start a version on probation a second time."""
    del repository
    serve(state, factory)


def undo(state: State, repository: Path, factory: str) -> None:
    """Roll back because a person says so."""
    del repository, factory
    roll_back(state, silent)


def prove(state: State, repository: Path, factory: str) -> None:
    """End a probation well."""
    del repository, factory
    version = state.current() or ""
    state.change(lambda old: ledger.proved(old, version), "proved", version)
    state.prune()


ACTIONS = {"update": update, "fall": fall, "undo": undo, "prove": prove}


def cut_before(number: int) -> None:
    """End this process at once, before the change of that number."""
    left = [number]

    def counted(call: Callable[..., Any], *, when: Callable[..., bool] = lambda *_, **__: True) -> Callable[..., Any]:
        def change(*arguments: Any, **named: Any) -> Any:
            if when(*arguments, **named):
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            return call(*arguments, **named)

        return change

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    opened = counted(io.open, when=lambda _, mode="r", *__, **___: "w" in mode)
    io.open = builtins.open = opened


def in_a_process(action: Callable[[], str]) -> tuple[int, str]:
    """Run something in a fork of this process; return how it ended and what it returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            os.write(writer, action().encode())
            code = 0
        except BaseException as error:  # noqa: BLE001 - told to the parent
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as told:
        text = told.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def main() -> int:
    """Cut before the first change, the second, ..., until the action ends by itself."""
    action, given, repository, factory = ACTIONS[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    number = 0
    while True:
        state = State(given.with_name(f"{given.name}-{number}"))
        shutil.copytree(given, state.folder, symlinks=True)

        def cut(number: int = number, state: State = state) -> str:
            cut_before(number)
            action(state, repository, factory)
            return "ended"

        code, told = in_a_process(cut)
        record = {"change": number, "code": code, "told": told}
        record["serves"] = in_a_process(lambda state=state: serve(state, factory))  # type: ignore[misc]
        again = in_a_process(lambda state=state: str(action(state, repository, factory)))  # type: ignore[misc]
        record["again"] = again
        record["serves_then"] = in_a_process(lambda state=state: serve(state, factory))  # type: ignore[misc]
        print(json.dumps(record), flush=True)  # noqa: T201 - what the test reads
        shutil.rmtree(state.folder)
        if code != -signal.SIGKILL:
            return 0
        number += 1


if __name__ == "__main__":
    raise SystemExit(main())
