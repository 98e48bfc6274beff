"""Where frames come from: one contract, one file a kind of source, chosen by URI and imported only then."""

import contextlib
import importlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from kdlight_edge.errors import SourceError, UsageError
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.sources.address import without_password

if TYPE_CHECKING:
    from kdlight_edge.picture import Need


class Source(Protocol):
    """An iterator of frames that can be closed from another thread; closing ends the iteration."""

    live: bool
    """True where frames come whether or not they are taken: only the newest is held, the others are counted."""

    def __iter__(self) -> Iterator[Frame | Unreadable]: ...

    def close(self) -> None:
        """Let go of the device, file or stream; safe to call twice."""
        ...


@runtime_checkable
class Album(Protocol):
    """A source whose pictures can be read in any order and by several threads at once (a folder)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame | Unreadable: ...


@runtime_checkable
class Shrinking(Protocol):
    """A source that may decode of a JPEG no more than is needed, where nobody wants to see the picture itself."""

    def shrink(self, need: "Need") -> None:
        """Tell what is needed from now on; the frames say what they are a part of (`Frame.full`).

        A live source may also write over the picture of a frame once the next one is asked for.
        """
        ...


@runtime_checkable
class Idle(Protocol):
    """A source that may have nothing to give for days, and shows that it is in order (a watched folder, a listener)."""

    @property
    def idle(self) -> float | None:
        """When it was last seen to work, in seconds of ``time.monotonic``; None while nobody waits for it.

        It may lie ahead, where it is known when it looks next.
        """
        ...


@runtime_checkable
class Answerable(Protocol):
    """A source that acknowledges what it was sent once it was answered; its sender keeps it until then (a listener)."""

    def withhold(self) -> None:
        """Do not acknowledge what the last frame is of, as its result was not written; by the thread that iterates."""
        ...


class Kind(NamedTuple):
    """One row of `SOURCES`."""

    module: str
    """Its ``load(uri, patience, report) -> Source``."""
    forms: str
    """How a URI of this kind looks, for people."""
    pattern: str
    """A URI of this kind matches it from its start to its end; a path on the disk is told by what lies there."""


SOURCES = {
    "camera": Kind(
        "kdlight_edge.sources.opencv",
        "0, /dev/video0, /dev/kdlight-camera, /dev/v4l/by-id/NAME",
        r"\d+|/dev/((video|v4l/).+|kdlight-camera.*)",  # the last one by our own udev rule
    ),
    "mjpeg": Kind("kdlight_edge.sources.mjpeg", "http://HOST/PATH", r"https?://.+"),
    "stream": Kind("kdlight_edge.sources.opencv", "rtsp://HOST/PATH", r"rtsps?://.+"),
    "gst": Kind("kdlight_edge.sources.gst", "gst:PIPELINE", r"gst:.*"),
    "board": Kind("kdlight_edge.sources.board_camera", "csi://0, libcamera://0", r"(csi|libcamera)://.*"),
    "dicom-listener": Kind("kdlight_edge.sources.dicom_listener", "dicom://0.0.0.0:11112 (listens)", r"dicom://.+"),
    "scene": Kind("kdlight_edge.sources.scene", "scene:crack (generated, no hardware)", r"scene:.*"),
    "watch": Kind("kdlight_edge.sources.watch", "watch:DIR (pictures as they come)", r"watch:.+"),
    "dicom": Kind("kdlight_edge.sources.dicom", "scan.dcm, scans/, dicom:DIR", r"dicom:(?!//).+"),
    "folder": Kind("kdlight_edge.sources.folder", "pictures/, picture.jpg", ""),
    "video": Kind("kdlight_edge.sources.opencv", "clip.mp4", ""),
}
"""What a source can be, tried in this order."""

VIDEOS = frozenset({
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mjpeg", ".mjpg", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv",
    ".3gp",
})  # fmt: skip
"""File names that are videos, in lower case."""

_FOREIGN = re.compile(r"[a-z][a-z0-9+.-]+:.*", re.IGNORECASE)
"""``word:``, the look of a URI of a kind that is not in `SOURCES`; a Windows drive has one letter and is not one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a live source is waited for, and how often it is opened again."""

    stall_timeout: float = 5.0
    """Seconds without a frame after which a live source counts as lost."""
    retries: int | None = None
    """Failed attempts in a row to open a lost source again before giving up; None tries for ever."""
    first_wait: float = 1.0
    """Seconds before the first attempt; doubled for each further one."""
    longest_wait: float = 30.0
    """Seconds at most between two attempts."""
    at_start: bool = False
    """Whether a camera that is not there at the start is waited for like one that is lost later."""
    freeze_timeout: float = 5.0
    """Seconds of one and the same picture after which a camera counts as frozen, and so as lost."""


def tell(line: str) -> None:
    """Report a line for people where the program runs: on stderr."""
    # In one call: print() would write the end of the line in a second one, and several threads tell at once.
    with contextlib.suppress(OSError):  # a terminal that went away
        sys.stderr.write(f"kdlight-edge: {line}\n")
        sys.stderr.flush()


def kind_of(uri: str) -> str:
    """Return the key of `SOURCES` that ``uri`` names, looking at the disk where it is a path.

    Raises:
        UsageError: no kind looks like that.
        SourceError: a path where nothing is, or that may not be looked at.
    """
    for name, kind in SOURCES.items():
        if kind.pattern and re.fullmatch(kind.pattern, uri):
            return name
    if _FOREIGN.fullmatch(uri) and not os.path.lexists(uri):
        raise UsageError(f"no source looks like {without_password(uri)!r}; these do: {_forms()}")
    try:
        is_folder = stat.S_ISDIR(Path(uri).stat().st_mode)
    except OSError as error:
        shown = without_password(uri)
        raise SourceError(f"{shown} cannot be read: {error.strerror}; a source is one of: {_forms()}") from error
    return _kind_by_content(uri, is_folder=is_folder)


def _kind_by_content(path: str, *, is_folder: bool) -> str:
    from kdlight_edge.dicom.magic import is_dicom, is_dicom_folder
    from kdlight_edge.picture import EXTENSIONS

    if is_folder:
        return "dicom" if is_dicom_folder(path) else "folder"
    suffix = Path(path).suffix.lower()
    if suffix in VIDEOS:
        return "video"
    with contextlib.suppress(OSError):  # whoever opens it says why it cannot be
        if suffix == ".dcm" or (suffix not in EXTENSIONS and is_dicom(path)):
            return "dicom"
    return "folder"


def open_source(uri: str, patience: Patience | None = None, report: Callable[[str], None] = tell) -> Source:
    """Open the source that a URI names.

    Args:
        uri: one of the forms in `SOURCES`.
        patience: of a live source with a camera that is lost.
        report: takes one line for people when a live source is lost and when it is back.

    Raises:
        UsageError: the form or an option in it is unknown.
        SourceError: nothing is there, or it cannot be read.
    """
    module = importlib.import_module(SOURCES[kind_of(uri)].module)
    source: Source = module.load(uri, patience or Patience(), report)
    return source


def _forms() -> str:
    return "; ".join(kind.forms for kind in SOURCES.values())
