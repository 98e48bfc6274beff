"""Pictures of folders whose classes nobody asks for: things that are foreign, or not labelled yet."""

from collections.abc import Sequence
from pathlib import Path

from kdlight_edge.errors import DataError
from kdlight_train.folders import files_below, train_of
from kdlight_train.pictures import Picture, Split


def loose_files(path: Path, flag: str, wanted: str) -> list[Path]:
    """Return the pictures below a folder in a fixed order.

    Args:
        path: the folder; of one with ``train/`` only that is read: ``test/`` is to test with.
        flag: that it was given with, for the errors.
        wanted: what it should hold, for the errors.

    Raises:
        DataError: it cannot be read, or holds none.
    """
    try:
        files = files_below(train_of(path))
    except OSError as error:
        raise DataError(f"{flag} {path} cannot be read: {error.strerror}") from error
    if not files:
        raise DataError(f"{flag} {path} holds no picture; give a folder of {wanted}")
    return files


def loose_split(files: Sequence[Path]) -> Split:
    """Return files as pictures of no class, for `kdlight_train.pictures.load`."""
    return Split(tuple(Picture(file, None, 0, file.name, str(file), "", (0, 0)) for file in files))


def told_name(path: Path) -> str:
    """Return a folder's own name as a manifest, which is UTF-8, can hold it."""
    return path.resolve().name.encode("utf-8", "backslashreplace").decode()
