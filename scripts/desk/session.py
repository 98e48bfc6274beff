"""One benchmark of one board from a desk; what is finished is kept, so that a cut link costs nothing twice."""

import contextlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlight_edge import durable
from kdlight_edge.bundle import open_bundle
from kdlight_edge.errors import KDLightError, UsageError

from . import clocks, site, ssh
from .site import Say, Site
from .ssh import Host, LinkCut
from .verdict import changes

STATE = "state.json"
ATTEMPTS = 3
"""Times a scenario is begun when the board goes down under it."""

LOCKED = ("a", "b")
"""Scenarios that are measured with locked clocks too."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for."""

    host: Host
    model: Path
    wheel: Path | None
    """None where a program of the board is used."""
    out: Path
    """Folder here for everything that is learnt."""
    scenarios: Sequence[str]
    seconds: float
    soak: float
    engine: str = "auto"
    threads: int = 1
    quick: bool = False
    wheels: Path | None = None
    use: str | None = None
    data: Sequence[Path] = ()
    both_clocks: bool = True
    keep: bool = False
    resume: bool = False
    patience: float = 120.0
    """Seconds for which a cut link is waited for."""


def measure(request: Request, say: Say) -> dict[str, Any]:
    """Run every scenario that is not finished yet.

    Returns:
        Plain JSON types: ``host``, ``fingerprint`` (before), ``changed`` (what was different afterwards), ``trials``,
        ``clocks`` (what became of the second state), ``left`` (paths that are on the board and were not before),
        ``kept`` (the folder, where it was to be kept).

    Raises:
        UsageError: there is an unfinished run in ``out`` and it was not asked for, or nothing to resume.
        KDLightError: the board cannot do it, a scenario failed, or the fingerprint is not the one of the first part.
    """
    found = _Memory(request)
    try:
        return _measure(request, found, say)
    except (KDLightError, KeyboardInterrupt) as error:
        missing = [name for name in _jobs(request, locked=found.locked) if name not in found.trials]
        rest = f"finished: {', '.join(found.trials) or 'nothing'}; missing: {', '.join(missing) or 'nothing'}"
        where = f"; {found.folder} is still on {request.host.name}" if found.folder else ""
        if isinstance(error, UsageError) or not found.begun:
            raise
        raise type(error)(f"{error} ({rest}{where}; --resume goes on)") from error


class _Memory:
    """What is known so far, on the disk after every scenario."""

    def __init__(self, request: Request) -> None:
        self._file = request.out / STATE
        self.trials: dict[str, dict[str, Any]] = {}
        self.fingerprint: dict[str, Any] | None = None
        self.folder, self.before = "", list[str]()
        self.locked = False
        self.begun = False
        digest = open_bundle(request.model).manifest.digest
        self._asked = {
            "host": request.host.name, "digest": digest, "seconds": request.seconds, "soak": request.soak,
            "engine": request.engine, "threads": request.threads, "quick": request.quick, "use": request.use,
            "data": [str(path) for path in request.data],
        }  # fmt: skip
        if self._file.exists() and not request.resume:
            raise UsageError(f"{request.out} holds an unfinished run; --resume goes on with it, or name another --out")
        if request.resume and not self._file.exists():
            raise UsageError(f"there is nothing to resume in {request.out}; leave --resume out")
        if request.resume:
            self._read()
        request.out.mkdir(parents=True, exist_ok=True)

    def _read(self) -> None:
        known = json.loads(self._file.read_text(encoding="utf-8"))
        different = [name for name, value in self._asked.items() if known["asked"].get(name) != value]
        if different:
            raise UsageError(f"--resume with another {', '.join(different)} than before; name another --out")
        self.trials, self.fingerprint = known["trials"], known["fingerprint"]
        self.folder, self.before = known["folder"], known["before"]
        self.begun = True

    def agree(self, fingerprint: dict[str, Any]) -> None:
        """Refuse a board that is not the one of the first part."""
        different = changes(self.fingerprint or fingerprint, fingerprint)
        if different:
            raise KDLightError(f"the board is not as it was: {'; '.join(different)}; figures of both cannot be merged")
        self.fingerprint = fingerprint

    def write(self) -> None:
        """Store it, whole or not at all."""
        known = {
            "asked": self._asked, "fingerprint": self.fingerprint, "folder": self.folder, "before": self.before,
            "trials": self.trials,
        }  # fmt: skip
        durable.write_text(self._file, json.dumps(known) + "\n")
        self.begun = True

    def forget(self) -> None:
        """The run is whole."""
        self._file.unlink(missing_ok=True)


def _measure(request: Request, memory: _Memory, say: Say) -> dict[str, Any]:
    host = request.host
    facts = site.probe(host)
    if not memory.folder:
        if request.use is None:
            site.check(host, facts)
        memory.before = ssh.run(host, site.LISTING).stdout.splitlines()
        memory.folder = f"{facts['home']}/kdlight-bench-{secrets.token_hex(4)}"
    say(f"{host.name}: copying, and making the environment")
    files = [path for path in (request.model, request.wheel, *request.data) if path is not None]
    memory.write()
    place = Site(host, memory.folder, "", "")
    try:
        place = site.make(host, memory.folder, facts, files, request.wheels, request.use)
        before = site.look(place)
        memory.agree(before)
        note = _run_all(request, memory, place, facts, say)
        after = site.patiently(lambda: json.dumps(site.look(place)), request.patience, say)
        left: list[str] = []
    except LinkCut:
        raise  # the board is out of reach, and what it is doing goes on
    except BaseException:
        with contextlib.suppress(LinkCut):
            _clear(request, memory, place)
        raise
    left = _clear(request, memory, place)
    memory.forget()
    return {
        "host": host.name,
        "fingerprint": before,
        "changed": changes(before, json.loads(after)),
        "trials": list(memory.trials.values()),
        "clocks": note,
        "left": left,
        "kept": memory.folder if request.keep else None,
    }


def _clear(request: Request, memory: _Memory, place: Site) -> list[str]:
    """Leave the board as it was; return what is there of us that was not there before."""
    if request.keep:
        return []
    left = sorted({*site.clear(place)} - {*memory.before})
    memory.folder = ""
    if memory.begun:
        memory.write()
    return left


def _jobs(request: Request, *, locked: bool) -> dict[str, tuple[str, str]]:
    """Return the name of each job with its scenario and its clocks, in order."""
    jobs = {letter: (letter, "deployed") for letter in request.scenarios}
    if locked:
        jobs |= {f"{letter}-locked": (letter, "locked") for letter in request.scenarios if letter in LOCKED}
    return jobs


def _run_all(request: Request, memory: _Memory, place: Site, facts: dict[str, str], say: Say) -> str:
    allowed, note = clocks.may_lock(facts) if request.both_clocks else (False, "not asked for")
    memory.locked = allowed and any(letter in LOCKED for letter in request.scenarios)
    jobs = _jobs(request, locked=memory.locked)
    for kind in ("deployed", "locked"):
        todo = {name: letter for name, (letter, state) in jobs.items() if state == kind and name not in memory.trials}
        with clocks.locked(place, facts) if kind == "locked" and todo else contextlib.nullcontext():
            for name, letter in todo.items():
                say(f"scenario {name}")
                trial = _one(request, place, name, letter, say)
                memory.trials[name] = {**trial, "clocks": kind}
                memory.write()
    return note


def _one(request: Request, place: Site, name: str, letter: str, say: Say) -> dict[str, Any]:
    """Run one scenario to its end, whatever happens to the link, and again where the board itself went down."""
    for attempt in range(ATTEMPTS):
        found = site.patiently(lambda: site.state(place, name), request.patience, say)
        if found == "gone":
            if attempt:
                say(f"scenario {name} ended with the board; begun again")
            site.patiently(lambda: site.start(place, name, _arguments(request, letter)), request.patience, say)
        if site.patiently(lambda: site.wait(place, name), request.patience, say) == "done":
            try:
                return site.fetch(place, name)
            except json.JSONDecodeError as error:
                raise KDLightError(f"scenario {name} gave no record ({error}); is the board's disk full?") from error
    raise KDLightError(f"the board went down {ATTEMPTS} times under scenario {name}; see its power supply")


def _arguments(request: Request, letter: str) -> list[str]:
    seconds = request.soak if letter == "e" else request.seconds
    words = ["bench", request.model.name, "--scenario", letter, "--seconds", f"{seconds:g}"]
    words += ["--engine", request.engine, "--threads", str(request.threads)]
    words += ["--quick"] if request.quick else []
    return words + (["--data", *(path.name for path in request.data)] if request.data and letter == "a" else [])
