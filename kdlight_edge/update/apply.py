"""An update from its place to the service, step by step; a cut of power after any step leaves a device that runs."""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdlight_devices.board import Board
from kdlight_devices.detect import detect
from kdlight_edge import archive, durable
from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.errors import BundleError, KDLightError, ParityError, SourceError, UsageError
from kdlight_edge.sources.address import without_password
from kdlight_edge.update import ledger, trial
from kdlight_edge.update.fetch import Repository, order
from kdlight_edge.update.state import Named, State, version_of

SPARE_BYTES = 8_000_000
"""Room that is left on the disk after an update, for the ledger and for what the service stores."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What an update shall do."""

    location: str
    """A repository (``https://...``, ``file:///...``, a folder) or a file of ``bundle sign``."""
    keys: Path
    """Folder of public keys, for a file."""
    root: Path | None = None
    """First root metadata, for a repository."""
    name: str | None = None
    """Of the bundle; None for the one that serves."""
    board: Board | None = None
    """Whose budget holds; None for this one."""
    shadow: int = 0
    """Frames that are compared in the shadow of the version that serves; 0 for none."""
    agreement: float = 0.98
    """Least share of equal decisions there."""
    probation: float = 300.0
    """Seconds of work that prove it."""
    downgrade: bool = False
    """Whether a version that is not newer is taken."""
    again: bool = False
    """Whether a version that was rolled back before is taken."""
    clock_is_right: bool = False
    """Whether a clock that is earlier than it was is believed."""


def apply(state: State, wanted: Order, tell: Tell) -> str | None:
    """Bring a bundle into service; return its version, or None where the newest serves already.

    Raises:
        KDLightError: it is refused, with the reason, and nothing has changed; or another update is at work.
    """
    state.prepare()
    busy = f"another update is at work on {state.folder}; wait until it has ended"
    with durable.locked(state.own / "update.lock", busy):
        durable.remove(state.asked)
        shutil.rmtree(state.incoming, ignore_errors=True)  # what a cut-off one left
        _check_at_rest(state)
        try:
            state.incoming.mkdir()
            return _bring(state, wanted, tell)
        except KDLightError as error:
            reason = str(error)
            with contextlib.suppress(OSError):
                state.change(lambda old: old, "refused", without_password(wanted.location), reason)
            raise
        except OSError as error:
            raise KDLightError(f"{error.filename or state.folder} could not be written: {error.strerror}") from error
        finally:
            shutil.rmtree(state.incoming, ignore_errors=True)


def roll_back(state: State, tell: Tell) -> None:
    """Let the good version before the present one serve, because a person says so.

    Raises:
        UsageError: none was brought by an update.
    """
    state.prepare()
    with durable.locked(state.own / "update.lock", f"another update is at work on {state.folder}; wait for it"):
        version = state.current()
        if version is None:
            raise UsageError("the bundle installed with the service serves; there is none before it")
        good = state.roll_back("a person asked for it")
        tell(f"{version} is rolled back; {good or 'the bundle installed with the service'} serves")
        state.prune()


def _bring(state: State, wanted: Order, tell: Tell) -> str | None:
    running = state.running() or {}
    name = wanted.name or running.get("name") or _name_of_current(state)
    fetched = _fetch(state, wanted, name, tell)
    if fetched is None:
        return None
    packed, envelope = fetched
    if name is not None and envelope.seal.name != name:
        raise BundleError(
            f"the file holds {envelope.seal.name}, and this device runs {name}; --bundle {envelope.seal.name} takes it"
        )
    _need_room(state, envelope.seal.bytes)
    bundle = archive.unpack(packed, envelope, state.incoming / "bundle.kdl")
    version = version_of(bundle.manifest)
    tell(f"{version} is whole, and signed by who is trusted here")
    if _is_served(state, bundle.manifest):
        tell(f"{version} serves already")
        return None
    _check_version(state, bundle.manifest, wanted)
    _try(state, bundle, wanted, running.get("engine") or "auto", tell)
    _switch(state, bundle, version, wanted.probation)
    tell(_next_step(state, version, wanted.probation))
    return version


def _fetch(state: State, wanted: Order, name: str | None, tell: Tell) -> tuple[Path, archive.Envelope] | None:
    """Return the packed file and its envelope, whose sender is trusted; None where the newest serves already.

    The file may change at any moment, on a stick or in a folder of others: so its envelope is read once, and what is
    unpacked later is held to the very one that was judged.
    """
    given = Path(wanted.location)
    if "://" not in wanted.location and not given.exists():
        raise SourceError(f"there is nothing at {given}; give a file, a folder or https://...")
    if given.is_file():
        from kdlight_edge.signature import read_trusted, signed_by

        envelope = archive.read_envelope(given)
        tell(f"signed by {signed_by(envelope, read_trusted(wanted.keys))}")
        return given, envelope
    repository = Repository(wanted.location, state, wanted.root, right=wanted.clock_is_right)
    offer = repository.newest(name)
    if _is_served(state, offer):
        tell(f"{offer.name} {offer.version} serves already; {without_password(wanted.location)} has nothing newer")
        return None
    _check_version(state, offer, wanted)  # and not only what is fetched: a device asks every day, and some pay for it
    _need_room(state, offer.bytes)
    place = state.incoming / "bundle.kdl.tar"
    repository.fetch(offer, place)
    tell(f"fetched {offer.name} {offer.version}")
    return place, archive.read_envelope(place)


def _check_at_rest(state: State) -> None:
    held = state.ledger().probation
    if held is not None and held.version == state.current() and (held.starts or held.boots):
        alive = (state.running() or {}).get("alive")
        if alive:
            raise KDLightError(
                f"{held.version} is on probation until it has worked for {held.seconds:.0f} s; wait, or roll it back"
            )


def _name_of_current(state: State) -> str | None:
    with contextlib.suppress(KDLightError):
        return open_bundle(state.folder).manifest.name
    return None


def _need_room(state: State, size: int) -> None:
    free, needed = shutil.disk_usage(state.own).free, size + SPARE_BYTES
    if free < needed:
        raise KDLightError(f"{state.folder} has room for {free:,} bytes, and {needed:,} are needed; make room there")


def _is_served(state: State, bundle: Named) -> bool:
    return version_of(bundle) == state.current() or bundle.digest == (state.running() or {}).get("digest")


def _check_version(state: State, bundle: Named, wanted: Order) -> None:
    version = version_of(bundle)
    if version in state.ledger().failed and not wanted.again:
        raise BundleError(f"{version} was rolled back here before; --again tries it once more")
    running = state.running()
    present = str(running["bundle_version"]) if running is not None and running["name"] == bundle.name else None
    if (current := state.current()) is not None:
        with contextlib.suppress(KDLightError):
            manifest = open_bundle(state.path(current)).manifest
            present = manifest.version if manifest.name == bundle.name else None
    newer = present is None or order(bundle.version) > order(present)
    if not newer and not wanted.downgrade:
        raise BundleError(
            f"{bundle.name} {bundle.version} is not newer than {present}, which serves; --allow-downgrade takes it"
        )


def _try(state: State, bundle: Bundle, wanted: Order, engine: str, tell: Tell) -> None:
    """Hold a candidate to the board, the golden pictures, the budget and the version that serves."""
    board = wanted.board or detect()
    trial.check_board(bundle, board)
    try:
        opened = open_classifier(bundle.path, engine=engine, threads=1)
    except ParityError as error:
        raise ParityError(f"refused: {error}") from error
    with opened as classifier:
        tell(f"its golden pictures are answered rightly by {classifier.engine.name}")
        found = trial.check_budget(classifier, board)
    times = ", ".join(f"{name[:3]} {found[name]:.2f} ms" for name in ("p50_ms", "p99_ms") if name in found)
    if found and board.budget is not None and "p99_ms" not in found:
        times += ", p99 not judged: others took the processor meanwhile"
    tell(f"within the budget of {board.name}: {times}" if found else f"{board.name} has no budget")
    if wanted.shadow:
        trial.shadow(state, bundle, wanted.shadow, wanted.agreement, tell)


def _switch(state: State, bundle: Bundle, version: str, probation: float) -> None:
    """Put a candidate among the versions, note its probation, change the link: in this order, each on the disk."""
    for path in (bundle.path, *bundle.path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    durable.sync_tree(bundle.path)
    durable.move(bundle.path, state.path(version))
    serving = state.current()
    state.change(lambda old: ledger.begun(old, version, probation, serving), "applied", version)
    state.switch(version)


def _next_step(state: State, version: str, probation: float) -> str:
    alive = (state.running() or {}).get("alive")
    when = "the service starts anew with it" if alive else "it serves from the next start of the service on"
    return f"{version} is in its place; {when}, on probation for {probation:.0f} s of work"


def as_owner(state: State) -> State:
    """Give up being root for the owner of the state folder, so that the service can read and replace what is written.

    The folder of a service with a user of its own lies below one that only root may pass: it is entered first, and the
    state returned is the one seen from inside.
    """
    if os.geteuid() != 0 or not state.folder.is_dir():
        return state
    owner = state.folder.stat()
    if owner.st_uid == 0:
        return state
    os.chdir(state.folder)
    os.setgroups([])
    os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
    os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
    return State(Path())
