"""A path on the command line, never an empty one: an unset variable leaves it, and Python takes it for ``.``."""

import argparse
from pathlib import Path


def named_path(text: str) -> Path:
    """Return the path; for the ``type`` of a flag.

    Raises:
        argparse.ArgumentTypeError: it is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("it is empty; give a path ('.' is the folder that you are in)")
    return Path(text)
