"""What a run reads is not what it writes over, nor is what it writes: flags that would are refused before they do."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kdlight_edge.errors import UsageError

if TYPE_CHECKING:
    from kdlight_edge.sources import Source

FILES = ("csv", "json_file", "audit", "sheet", "geojson", "mqtt_store")
"""Flags that name a file to be written."""

KEPT = ("config", "audit_key", "identity_key", "web_token")
"""Flags that name a file to be read."""

IN_FOLDERS = {"save": ("predictions.jsonl", "predictions.csv"), "event_dir": ("events.jsonl",)}
"""Files that are written in the folder which a flag names."""


@runtime_checkable
class Listed(Protocol):
    """A source that knows the files it will read (a folder of pictures or scans)."""

    def listed(self) -> list[tuple[Path, str]]:
        """Return them, each with why it cannot be read."""
        ...


def check(args: argparse.Namespace, source: "Source") -> None:
    """Refuse what would write over a file that is read or written, or into the folder that is watched for pictures.

    Raises:
        UsageError: see above.
    """
    pictures = [path for path, _ in source.listed()] if isinstance(source, Listed) else []
    copies: Iterator[tuple[str, Path]] = iter(())
    if args.save and pictures:
        from kdlight_edge.sinks.annotated import copy_of

        root = Path(args.folder or args.source.removeprefix("dicom:"))
        below = (path.relative_to(root) if path != root else Path(path.name) for path in pictures)
        copies = (("save", Path(args.save, copy_of(name))) for name in below)
    if args.source and not pictures:
        pictures = [Path(args.source)]  # of a camera no such file is there
    _refuse(args, pictures, copies)
    for given in (args.folder, args.source, *(args.camera or ())):
        _refuse_among(args, "save", given)


def check_survey(args: argparse.Namespace, pictures: Sequence[Path]) -> None:
    """Refuse the same of an inspection; raises as `check`."""
    _refuse(args, pictures, iter(()))
    _refuse_among(args, "report", args.folder or args.source)
    folder = None if args.report is None else Path(args.report, "pictures").resolve()
    inside = None if folder is None else next((path for path in pictures if path.parent.resolve() == folder), None)
    if inside is not None:
        raise UsageError(f"--report {args.report} writes where {inside} lies, which is to be read; name another folder")


def _refuse_among(args: argparse.Namespace, flag: str, given: str | None) -> None:
    """Refuse to write pictures into a folder that is read: the next run would take them for its own, and a training."""
    read = (given or "").removeprefix("dicom:")
    if read.startswith("watch:"):
        read = read.removeprefix("watch:").partition("?")[0]
    into = getattr(args, flag)
    if into and read and Path(read).is_dir() and Path(into).resolve().is_relative_to(Path(read).resolve()):
        raise UsageError(f"{_given(args, flag)} lies in {read}, whose pictures are read; name a folder outside")


def check_evaluation(args: argparse.Namespace, pictures: Sequence[Path]) -> None:
    """Refuse the same of an evaluation; raises as `check`."""
    _refuse(args, pictures, iter(()), ("predictions",))


def _refuse(
    args: argparse.Namespace,
    pictures: Sequence[Path],
    copies: Iterator[tuple[str, Path]],
    flags: Sequence[str] = FILES,
) -> None:
    files = [(flag, Path(getattr(args, flag))) for flag in flags if getattr(args, flag)]
    _refuse_twice(args, files)
    written: dict[tuple[int, int], tuple[str, Path]] = {}
    for several in (files, copies):
        for flag, path in several:
            with contextlib.suppress(OSError):  # nothing is there that could be lost
                written.setdefault(_identity(path), (flag, path))
    if not written:
        return
    for picture in (*pictures, *_kept(args)):
        with contextlib.suppress(OSError):  # told in its turn
            flag, path = written.get(_identity(picture), ("", picture))
            if flag:
                raise UsageError(
                    f"{_given(args, flag)} would write over {picture}, which is to be read; name another place"
                )


def _kept(args: argparse.Namespace) -> Iterator[Path]:
    """Give what else is read: files that flags name, and those of the bundle, also where it is a device's state."""
    yield from (Path(getattr(args, flag)) for flag in KEPT if getattr(args, flag, None))
    for place in (Path(getattr(args, flag)) for flag in ("model", "state") if getattr(args, flag, None)):
        serving = place / "current"  # beside it lie results, too
        bundle = serving if serving.exists() else place
        yield from (path for path in (bundle, *bundle.rglob("*")) if path.is_file())


def _refuse_twice(args: argparse.Namespace, files: Sequence[tuple[str, Path]]) -> None:
    asked = ((flag, getattr(args, flag, None), names) for flag, names in IN_FOLDERS.items())
    folders = [(flag, Path(folder, name)) for flag, folder, names in asked if folder for name in names]
    taken: dict[Path, str] = {}
    for flag, path in (*files, *folders):
        if path.exists() and not path.is_file():  # /dev/null and /dev/stdout take any number
            continue
        if (other := taken.setdefault(path.resolve(), flag)) != flag:
            both = f"{_given(args, other)} and {_given(args, flag)}"
            raise UsageError(f"{both} would write {path} over each other; name two files")


def _given(args: argparse.Namespace, flag: str) -> str:
    return f"--{flag.replace('_', '-')} {getattr(args, flag)}"


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
