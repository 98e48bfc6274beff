"""Cameras on a board's ribbon cable: ``csi://0`` of a Jetson and ``libcamera://0`` of a Raspberry Pi, by GStreamer."""

import re
import urllib.parse
from collections.abc import Callable
from typing import NamedTuple

from kdlight_edge.errors import SourceError, UsageError
from kdlight_edge.sources import Patience, Source
from kdlight_edge.sources.gst import has, launch

FORM = "csi://0?size=1280x720&fps=30"


class Wanted(NamedTuple):
    """What a URI asks of a camera."""

    sensor: str
    width: int
    height: int
    fps: int


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> Source:
    """Open a board's camera.

    Raises:
        UsageError: the number, size or frames a second cannot be read.
        SourceError: GStreamer or its element for this camera is missing, or the camera gives no frame.
    """
    wanted = wanted_of(uri)
    jetson = uri.startswith("csi:")
    element = "nvarguscamerasrc" if jetson else "libcamerasrc"
    if not has(element) and not patience.at_start:
        where = "JetPack (nvidia-l4t-gstreamer)" if jetson else "apt-get install gstreamer1.0-libcamera"
        raise SourceError(f"{uri} needs GStreamer's {element}; {where} brings it, with gstreamer1.0-tools")
    return launch(uri, (csi if jetson else libcamera)(wanted).split(), patience, report)


def csi(wanted: Wanted) -> str:
    """Return the pipeline of a Jetson: the ISP's frames come out of NVMM by nvvidconv (L4T, Accelerated GStreamer)."""
    return (
        f"nvarguscamerasrc sensor-id={wanted.sensor} ! video/x-raw(memory:NVMM),width={wanted.width},"
        f"height={wanted.height},framerate={wanted.fps}/1 ! nvvidconv ! video/x-raw,format=I420"
    )


def libcamera(wanted: Wanted) -> str:
    """Return the pipeline of a Raspberry Pi; without a camera's name libcamera takes the first."""
    name = "" if wanted.sensor.isdecimal() else f" camera-name={wanted.sensor}"
    return (
        f"libcamerasrc{name} ! video/x-raw,format=NV12,width={wanted.width},height={wanted.height},"
        f"framerate={wanted.fps}/1"
    )


def wanted_of(uri: str) -> Wanted:
    """Read ``csi://0?size=1280x720&fps=30`` or ``libcamera://0`` or ``libcamera:///base/soc/...``.

    Raises:
        UsageError: see `load`.
    """
    place, _, query = uri.partition("?")
    scheme, _, sensor = place.partition("://")
    given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    size = re.fullmatch(r"(\d{2,5})x(\d{2,5})", given.pop("size", "1280x720"))
    fps = re.fullmatch(r"\d{1,3}", given.pop("fps", "30"))
    known = re.fullmatch(r"\d{1,2}" if scheme == "csi" else r"0|/[\w/@,.:-]+", sensor)
    if given or size is None or fps is None or int(fps[0]) == 0 or known is None:
        first = "; of libcamera give 0 or the name that rpicam-hello --list-cameras tells" if scheme != "csi" else ""
        raise UsageError(f"{uri} cannot be read; write it like {FORM}{first}")
    return Wanted(sensor, int(size[1]), int(size[2]), int(fps[0]))
