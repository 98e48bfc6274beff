"""Pixels of an orthomosaic to places on the earth: a plain north-up transform, from GeoTIFF tags or a world file.

WGS 84 in degrees (EPSG 4326) and in UTM zones (EPSG 326zz and 327zz) are turned into longitude and latitude, which is
what GeoJSON takes (RFC 7946); anything else is said to be unknown, not guessed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GEOGRAPHIC, NORTH, SOUTH = 4326, 32600, 32700

ZONES = 60

MIDDLE, WIDEST, POLE, HALF_TURN = 500_000, 1_000_000, 10_000_000, 180
"""Of a UTM zone, metres: the easting of its middle, and how far from it and from the equator a picture may lie (a zone
is 670 km wide at most, and the pole 9,998 km away). Degrees from the middle of the world to its edges."""

_LOCAL = 32767
"""A code of GeoTIFF that means: defined in words (OGC 19-008, user-defined)."""


@dataclass(frozen=True, slots=True)
class Georeference:
    """Where the pixels of a north-up picture lie."""

    x: float
    """Of the outer corner of the first pixel: east, in the system's unit."""
    y: float
    """The same: north."""
    dx: float
    """Width of a pixel."""
    dy: float
    """Height of a pixel, positive downwards."""
    epsg: int

    def lonlat(self, column: float, row: float) -> tuple[float, float]:
        """Return longitude and latitude, degrees, of a place in pixels."""
        x, y = self.x + column * self.dx, self.y - row * self.dy
        if self.epsg == GEOGRAPHIC:
            return x, y
        south = self.epsg > SOUTH
        return utm_to_lonlat(x, y - (10_000_000 if south else 0), self.epsg - (SOUTH if south else NORTH))

    def holds(self, width: int, height: int) -> bool:
        """Whether a picture of so many pixels lies where the system has places: else it is in another system."""
        left, right, top, bottom = self.x, self.x + width * self.dx, self.y, self.y - height * self.dy
        if self.epsg == GEOGRAPHIC:
            return max(-left, right, -2 * bottom, 2 * top) <= HALF_TURN
        pole = 2 * POLE if self.epsg > SOUTH else POLE
        return max(MIDDLE - left, right - MIDDLE) <= WIDEST and bottom >= pole - 2 * POLE and top <= pole

    @property
    def mm_per_pixel(self) -> float | None:
        """Ground size of a pixel, where the system is in metres; the grid's own scale (0.04 %) is left out."""
        return None if self.epsg == GEOGRAPHIC else 1000 * (self.dx + self.dy) / 2


def known(epsg: int) -> bool:
    """Whether a system can be turned into longitude and latitude here."""
    return epsg == GEOGRAPHIC or 0 < epsg - NORTH <= ZONES or 0 < epsg - SOUTH <= ZONES


def from_tags(
    scale: Sequence[float] | None,
    tie: Sequence[float] | None,
    matrix: Sequence[float] | None,
    keys: Mapping[int, int],
    given: int | None = None,
) -> tuple[Georeference | None, str]:
    """Read ModelPixelScale, ModelTiepoint, ModelTransformation and the codes of the GeoKeyDirectory (OGC 19-008).

    ``given`` is an EPSG code that the user names, for a file that names none, or one that is not known here.

    Returns:
        The georeference, or None and why there is none; the reason is empty where the file does not claim any.
    """
    if scale is None and tie is None and matrix is None:
        return None, ""
    if matrix is not None and len(matrix) >= 8:  # noqa: PLR2004 - two rows
        plane = (matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7])
    elif scale is not None and tie is not None and len(tie) == 6 and len(scale) >= 2:  # noqa: PLR2004 - one tie point
        plane = (scale[0], 0.0, tie[3] - tie[0] * scale[0], 0.0, -scale[1], tie[4] + tie[1] * scale[1])
    else:
        return None, "its georeference is no plain transform (several tie points)"
    projected, geographic = keys.get(3072, 0), keys.get(2048, 0)
    # A projected picture names the degrees below its projection too, which are not what its numbers are.
    code = {1: projected, 2: geographic}.get(keys.get(1024, 0), projected or geographic)
    if given is not None and not known(code):
        code = given
    half = 0.5 if keys.get(1025) == 2 else 0.0  # noqa: PLR2004 - a pixel is a point: the corner is half of one away
    return _plain(plane, code, half)


def from_world_file(path: Path, given: int | None) -> tuple[Georeference | None, str]:
    """Read the six lines beside a picture, where there are any (``.tfw``, ``.jgw``, ``.wld`` and the like)."""
    ending = path.suffix.lower()
    names = [f"{ending[:2]}{ending[-1:]}w", f"{ending}w", ".wld"]
    for beside in [path.with_suffix(name) for name in names] + [path.with_suffix(name.upper()) for name in names]:
        try:
            if not beside.is_file():  # a pipe of that name would be waited for
                continue
            numbers = [float(line.replace(",", ".")) for line in beside.read_text("ascii").split()]
            a, d, b, e, x, y = numbers
        except OSError:
            continue
        except ValueError:
            return None, f"{beside.name} is no world file: six numbers, a line each"
        if given is None:
            return None, f"{beside.name} does not name its system; give --epsg CODE"
        return _plain((a, b, x, d, e, y), given, 0.5)
    return None, ""


def _plain(
    plane: tuple[float, float, float, float, float, float], code: int, half: float
) -> tuple[Georeference | None, str]:
    """Take x = a column + b row + c, y = d column + e row + f, if it is north up and in a system that is known."""
    a, b, c, d, e, f = plane
    if not all(math.isfinite(value) for value in plane) or b or d or a <= 0 or e >= 0:
        return None, "its georeference is not north up; warp it first (gdalwarp does)"
    if not known(code):
        named = "is not named" if code in {0, _LOCAL} else f"is EPSG {code}"
        return None, f"its system {named}, not WGS 84 or one of its UTM zones; give --epsg CODE or warp it"
    return Georeference(c - half * a, f - half * e, a, -e, code), ""


def utm_to_lonlat(east: float, north: float, zone: int) -> tuple[float, float]:
    """Invert the transverse Mercator projection of a UTM zone on WGS 84, by Krueger's series to the fourth order.

    Args:
        east: metres, 500,000 at the zone's middle.
        north: metres from the equator, negative on the south.
        zone: 1 to 60.

    Returns:
        Longitude and latitude in degrees, right to less than a millimetre inside the zone.
    """
    flat = 1 / 298.257223563
    n = flat / (2 - flat)
    radius = 6_378_137.0 / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    beta = (
        n / 2 - 2 * n**2 / 3 + 37 * n**3 / 96 - n**4 / 360,
        n**2 / 48 + n**3 / 15 - 437 * n**4 / 1440,
        17 * n**3 / 480 - 37 * n**4 / 840,
        4397 * n**4 / 161280,
    )
    xi, eta = north / (0.9996 * radius), (east - 500_000) / (0.9996 * radius)
    xi_, eta_ = xi, eta
    for order, factor in enumerate(beta, 1):
        xi_ -= factor * math.sin(2 * order * xi) * math.cosh(2 * order * eta)
        eta_ -= factor * math.cos(2 * order * xi) * math.sinh(2 * order * eta)
    conformal = math.tan(math.asin(math.sin(xi_) / math.cosh(eta_)))
    longitude = math.degrees(math.atan2(math.sinh(eta_), math.cos(xi_))) + zone * 6 - 183
    return longitude, math.degrees(math.atan(_geodetic(conformal, math.sqrt(flat * (2 - flat)))))


def _geodetic(conformal: float, eccentricity: float) -> float:
    """Return the tangent of the geodetic latitude from that of the conformal one, by Newton's method."""
    tangent = conformal
    for _ in range(5):
        root = math.sqrt(1 + tangent * tangent)
        sigma = math.sinh(eccentricity * math.atanh(eccentricity * tangent / root))
        found = tangent * math.sqrt(1 + sigma * sigma) - sigma * root
        slope = (1 - eccentricity**2) * root * math.sqrt(1 + found * found) / (1 + (1 - eccentricity**2) * tangent**2)
        tangent += (conformal - found) / slope
    return tangent
