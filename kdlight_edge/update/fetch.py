"""A packed bundle from a repository of The Update Framework: trust, expiry, roll-back and freezing are python-tuf's."""

import contextlib
import dataclasses
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater
from urllib3.exceptions import HTTPError

from kdlight_edge.began import NEWBORN
from kdlight_edge.errors import BundleError, KDLightError, SourceError
from kdlight_edge.sources.address import with_login, without_password
from kdlight_edge.update.state import State, now

CLOCK_FLOOR = datetime.fromtimestamp(NEWBORN, timezone.utc).isoformat()
"""No clock that is right shows an earlier time: this program is younger."""

SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")
"""There once the clock was set by the network since the start (systemd-timesyncd)."""

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Offer:
    """The newest bundle of a name in a repository."""

    name: str
    version: str
    digest: str
    target: TargetFile

    @property
    def bytes(self) -> int:
        """Of the packed file."""
        return int(self.target.length)


class FolderFetcher(FetcherInterface):
    """Reads a repository from a folder, for instance on a stick."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        file = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
        try:
            if not file.is_file():
                raise DownloadHTTPError(f"there is no {file}", 404)
            with file.open("rb") as content:
                while piece := content.read(CHUNK):
                    yield piece
        except OSError as error:
            raise DownloadError(f"{file} cannot be read: {error.strerror}") from None


class Repository:
    """A repository as this device trusts it."""

    def __init__(self, location: str, state: State, root: Path | None, *, right: bool = False) -> None:
        """Take where it is.

        Args:
            location: ``https://...``, ``http://...``, ``file:///...`` or a folder.
            state: where what was seen is kept, so that nothing older is believed.
            root: the first root metadata, brought to the device by hand; None trusts the one seen before.
            right: whether a person says that the clock is right.

        Raises:
            KDLightError: there is neither.
            BundleError: the root cannot be trusted.
        """
        self._location, self._state = without_password(location), state
        self._url = with_login(location) if "://" in location else Path(location).resolve().as_uri()
        local = self._url.startswith("file://")
        bootstrap = self._root(root)
        earlier = check_clock(state, right=right)
        state.trust.mkdir(exist_ok=True)
        with self._told():
            self._updater = Updater(
                _from_inside(state.trust),
                f"{self._url}/metadata",
                target_base_url=f"{self._url}/targets",
                fetcher=FolderFetcher() if local else None,
                bootstrap=bootstrap,
            )
            self._updater.refresh()
        state.change(lambda old: dataclasses.replace(old, seen=now() if earlier else max(old.seen, now())))

    def _root(self, root: Path | None) -> bytes | None:
        if root is not None:
            try:
                return root.read_bytes()
            except OSError as error:
                raise KDLightError(
                    f"the root {root} cannot be read: {error.strerror}; bring root.json there"
                ) from error
        if not (self._state.trust / "root.json").exists():
            raise KDLightError(
                "no repository is trusted yet; give --root root.json once, brought from the publisher by hand"
            )
        return None

    def newest(self, name: str | None) -> Offer:
        """Return the newest bundle of a name; with None of the only name there is.

        Raises:
            BundleError: there is none of that name, or names are several.
        """
        offers = [offer for offer in map(_offer, self._targets()) if offer is not None]
        names = sorted({offer.name for offer in offers})
        if name is None and len(names) == 1:
            name = names[0]
        fitting = [offer for offer in offers if offer.name == name]
        if not fitting:
            there = ", ".join(names) or "nothing"
            raise BundleError(
                f"{self._location} offers {there}, and not {name or 'one name alone'}; give --bundle NAME"
            )
        return max(fitting, key=lambda offer: order(offer.version))

    def _targets(self) -> list[TargetFile]:
        # The client asks for targets by name; the list itself is in the metadata that it has just judged and stored.
        stored = Metadata[Targets].from_file(str(self._state.trust / "targets.json")).signed
        return list(stored.targets.values())

    def fetch(self, offer: Offer, place: Path) -> None:
        """Download a bundle, held to the digest of the metadata.

        Raises:
            BundleError: it is not what the metadata says.
            SourceError: it cannot be reached.
        """
        with self._told():
            target = self._updater.get_targetinfo(offer.target.path)
            if target is None:
                raise BundleError(f"{self._location} offers {offer.target.path} no more; try again")
            self._updater.download_target(target, str(place))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what python-tuf refuses."""
        where = self._location
        try:
            yield
        except ExpiredMetadataError as error:
            told = f"the metadata of {where} has expired ({error}); its publisher runs kdlight-edge update refresh"
            raise BundleError(told) from error
        except LengthOrHashMismatchError as error:
            raise BundleError(f"a file of {where} is not what its metadata says ({error}); copy it again") from error
        except BadVersionNumberError as error:
            raise BundleError(f"{where} shows older metadata than was seen here before ({error}); refused") from error
        except UnsignedMetadataError as error:
            raise BundleError(f"{where} is not signed by the keys that are trusted here ({error}); refused") from error
        except RepositoryError as error:
            raise BundleError(f"the metadata of {where} is refused: {error}") from error
        except (DownloadError, HTTPError) as error:  # the second where an answer breaks off that had begun
            reason = _first_cause(error).replace(self._url, where)  # what cannot be an address is told whole
            raise SourceError(f"{where} cannot be reached: {reason}; check the address and the network") from error


def check_clock(state: State, *, right: bool) -> bool:
    """Refuse a clock by which no expiry can be judged; tell whether it may be earlier than it was.

    It may where the clock of that time was the wrong one, which ran ahead: whoever set it since then, the network or a
    person, is asked. What was trusted stays so, in its versions and with its expiry, whatever the clock says: who can
    set a device's clock and stand in its repository's place can show it no more than what it has seen, or newer.

    Raises:
        BundleError: it is before this program was made; or before a time that was seen, and nobody set it.
    """
    seen = state.ledger().seen
    earlier = now() < seen
    if now() < CLOCK_FLOOR or (earlier and not right and not SYNCHRONIZED.exists()):
        least = max(CLOCK_FLOOR, seen)
        more = ", or say with --clock-is-right that it was wrong before" if earlier and now() >= CLOCK_FLOOR else ""
        raise BundleError(
            f"the clock says {now()[:16]}, and it was {least[:16]} before, so no expiry can be judged; set the clock "
            f"(timedatectl set-ntp true), then try again{more}"
        )
    return earlier


def order(version: str) -> Version:
    """Return what versions are compared by.

    Raises:
        BundleError: it has no order.
    """
    try:
        return Version(version)
    except InvalidVersion as error:
        raise BundleError(f"the version {version!r} cannot be compared; use numbers with dots, as in 1.4.0") from error


def _offer(target: TargetFile) -> Offer | None:
    told: Any = target.custom if isinstance(target.custom, dict) else {}
    fields = [told.get(key) for key in ("name", "version", "digest")]
    if not all(isinstance(field, str) for field in fields):
        return None
    with contextlib.suppress(BundleError):
        order(fields[1])
        return Offer(fields[0], fields[1], fields[2], target)
    return None


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def days_from_now(days: float) -> datetime:
    """Return the UTC time that is so many days ahead, to the second, as metadata has it."""
    return (datetime.now(timezone.utc) + timedelta(days=days)).replace(microsecond=0)


def _from_inside(folder: Path) -> str:
    """Return a name of a folder that needs no right to what lies above the working directory; see `as_owner`.

    The client of The Update Framework makes names absolute, and root alone may pass what lies above a service's state.
    """
    return str(folder if folder.is_absolute() else Path("/proc/self/cwd") / folder)
