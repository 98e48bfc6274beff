"""Changes of files that a cut of power leaves done or not begun: written beside, synced, renamed, the folder synced."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kdlight_edge.errors import KDLightError


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


@contextlib.contextmanager
def locked(file: Path, busy: str | None = None) -> Iterator[None]:
    """Hold a lock, which the kernel lets go when its holder dies.

    Args:
        file: is made where it is missing, and stays.
        busy: what to say when another process holds it; None to wait.

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
