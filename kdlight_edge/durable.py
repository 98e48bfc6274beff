"""Changes of files that a cut of power leaves done or not begun: written beside, synced, renamed, the folder synced."""

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from kdlight_edge.errors import KDLightError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Of Linux, see renameat2(2)."""

_UNKNOWN = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
"""What a kernel or a file system says that knows no exchange (network shares, old FAT)."""

_SICK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""What a disk says that is full, worn out, or made read-only because of it."""

LEFT = 3600.0
"""Seconds after which a folder beside its place is called left over: writing one takes seconds."""


def is_sick(error: BaseException | None) -> bool:
    """Tell whether an error is of a disk that takes nothing just now, whatever its place is called."""
    return isinstance(error, OSError) and error.errno in _SICK


def write_text(file: Path, text: str) -> None:
    """Replace a file by one rename."""
    beside = file.with_name(f".{file.name}.new")
    with os.fdopen(
        os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8"
    ) as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    os.replace(beside, file)  # noqa: PTH105 - tests count and interrupt the calls of `os`
    sync(file.parent)


def point(link: Path, target: str) -> None:
    """Let a symbolic link lead to ``target`` by one rename."""
    beside = link.with_name(f".{link.name}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)  # noqa: PTH108 - as above
    os.symlink(target, beside)  # noqa: PTH211 - as above
    os.replace(beside, link)  # noqa: PTH105 - as above
    sync(link.parent)


def remove(file: Path) -> None:
    """Remove a file or link, for good."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)  # noqa: PTH108 - as above
        sync(file.parent)


def move(folder: Path, place: Path) -> None:
    """Move a folder that `sync_tree` has seen to its place; something that stands there is no version and goes."""
    if place.exists():
        shutil.rmtree(place)
    os.rename(folder, place)  # noqa: PTH104 - as above
    sync(place.parent)


def replace(new: Path, place: Path) -> None:
    """Put a folder that `sync_tree` has seen where another stands, in one step: at no time is nothing there.

    Where the file system knows no such step there are two, and a cut of power between them leaves the older folder
    beside the new one alone, where `left_of` finds it.

    Args:
        new: the folder, in one ``.NAME.*`` beside ``place``, where NAME is its name. The older one lies there as
            ``old`` afterwards, to be removed.
        place: where it shall stand; there may be nothing.
    """
    old = new.with_name("old")
    if not os.path.lexists(place):
        new.replace(place)
    elif _exchange(new, place):
        new.replace(old)
    else:
        place.replace(old)
        try:
            new.replace(place)
        finally:
            if not os.path.lexists(place):
                old.replace(place)
    sync(place.parent)


def left_of(place: Path) -> Path | None:
    """Return where a folder lies that a cut of power took from its place (see `replace`); None where none does."""
    return next(place.parent.glob(f".{glob.escape(place.name)}.*/old"), None)


def clear(place: Path) -> None:
    """Remove what writers that were killed left beside a place: folders ``.NAME.*`` that none has touched for an hour.

    They hold NAME, or the older one as ``old``, or nothing; where ``old`` is all that is left of the place it stays.
    """
    for left in place.parent.glob(f".{glob.escape(place.name)}.*"):
        with contextlib.suppress(OSError):  # another writer clears too; what may not be removed hinders nobody
            held = {entry.name for entry in left.iterdir()}
            ours = not left.is_symlink() and held <= {place.name, "old"} and ("old" not in held or place.is_dir())
            if ours and time.time() - left.stat().st_mtime > LEFT:
                shutil.rmtree(left)


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change what they lead to, at once; False where that is not known here."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # of an older C library
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), os.fspath(other))


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk, as far as its file system can be asked for that."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network shares know no such call for a folder, and take a bundle all the same.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Have everything in a folder on the disk, the folder itself last."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            sync(path)
    sync(folder)


def lock(handle: int) -> None:
    """Keep other processes from writing an open file, or into an open folder, until it is closed or this one dies.

    Raises:
        BlockingIOError: another process does. A share that knows no locks keeps nobody out.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


@contextlib.contextmanager
def locked(file: Path, busy: str | None = None) -> Iterator[None]:
    """Hold a lock, which the kernel lets go when its holder dies; without ``busy`` wait for it. The file stays.

    Raises:
        KDLightError: another process holds it, with ``busy``.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise KDLightError(busy or "") from error
        yield
    finally:
        os.close(handle)
