"""The bundles that come with a checkout, found from where the program runs."""

from pathlib import Path

from kdlight_edge.errors import UsageError


def bundled() -> list[Path]:
    """Return the bundles in ``models/`` of the current directory, or else of the checkout this program runs from."""
    for folder in (Path("models"), Path(__file__).resolve().parents[1] / "models"):
        found = sorted(path for path in folder.glob("*.kdl") if (path / "manifest.json").is_file())
        if found:
            return found
    return []


def for_cracks(given: str | None) -> str:
    """Return the bundle that a person named, else the one of this checkout that knows cracks in generated surfaces.

    Raises:
        UsageError: there is none.
    """
    if given is not None:
        return given
    found = next((path for path in bundled() if path.name == "surface-crack.kdl"), None)
    if found is None:
        raise UsageError("--model is missing, and there is no models/surface-crack.kdl here; give a bundle")
    return str(found)
