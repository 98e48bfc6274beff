"""The bundles that come with a checkout, found from where the program runs."""

from pathlib import Path


def bundled() -> list[Path]:
    """Return the bundles in ``models/`` of the current directory, or else of the checkout this program runs from."""
    for folder in (Path("models"), Path(__file__).resolve().parents[1] / "models"):
        found = sorted(path for path in folder.glob("*.kdl") if (path / "manifest.json").is_file())
        if found:
            return found
    return []


def for_cracks() -> str | None:
    """Return the bundle that comes with a checkout and knows cracks in generated surfaces; None where it is not."""
    return next((str(path) for path in bundled() if path.name == "surface-crack.kdl"), None)
