"""Pipes, devices and links where pictures and bundles should be: one line each; nothing waits or fills the memory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.errors import DataError
from kdlight_edge.picture import MAX_BYTES, read_picture

NOT_A_FILE = "not a file: it cannot be read like one"

READ = """
import resource, sys
from kdlight_edge.frame import Unreadable
from kdlight_edge.sources.folder import Folder
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for item in Folder(sys.argv[1]):
    print(item.meta["below"], item.reason if isinstance(item, Unreadable) else "read", sep=": ")
"""

OPEN = """
import resource, sys
from kdlight_edge.errors import DataError
from kdlight_edge.picture import read_picture
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for path in sys.argv[1:]:
    try:
        read_picture(path)
    except DataError as error:
        print(error)
"""


def said(script: str, *arguments: object) -> list[str]:
    """Run a script that would hang or take all memory if it read what it should not."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one picture, two links to it, and links to what none can be read from."""
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 8, 3), np.uint8))
    os.mkfifo(folder / "pipe")
    for name, target in (
        ("b.png", "a.png"), ("c.png", "pipe"), ("d.png", "/dev/zero"), ("e.png", "nowhere"), ("f.png", "f.png"),
    ):  # fmt: skip
        (folder / name).symlink_to(target)
    return folder


def test_links_to_pipes_and_devices_are_told_like_these_and_the_rest_is_read(folder: Path) -> None:
    assert said(READ, folder) == [
        "a.png: read",
        "b.png: read",
        f"c.png: {NOT_A_FILE}",
        f"d.png: {NOT_A_FILE}",
        "e.png: cannot be opened: No such file or directory",
        "f.png: cannot be opened: Too many levels of symbolic links",
    ]


def test_what_became_a_pipe_or_a_device_after_it_was_listed_is_not_read_either(folder: Path) -> None:
    assert said(OPEN, folder / "pipe", folder / "c.png", folder / "d.png", "/dev/zero") == [NOT_A_FILE] * 4


def test_a_file_larger_than_any_picture_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.tif").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(DataError, match=r"2,147,483,649 bytes are more than 2,147,483,648; refused unread"):
        read_picture(tmp_path / "huge.tif")


VERBS = """
import resource, sys
from kdlight_edge.cli import main
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for verb in (["verify"], ["inspect"], ["bundle", "show"], ["infer", "--camera", "scene:crack", "--model"]):
    sys.stderr = sys.stdout
    print("exit", main([*verb, sys.argv[1]]))
"""


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_bundle_with_a_pipe_or_a_device_in_it_is_refused_like_a_damaged_one(
    tiny_bundle: Callable[..., Path], name: str, kind: str
) -> None:
    bundle = tiny_bundle()
    (bundle / name).unlink()
    os.mkfifo(bundle / name) if kind == "pipe" else (bundle / name).symlink_to("/dev/zero")
    lines = said(VERBS, bundle)
    assert lines[1::2] == ["exit 5"] * 4
    within = "leads out of the bundle by a link" if kind == "device" and name == "model.onnx" else "a pipe or device"
    assert all(within in line for line in lines[::2])


def test_a_pipe_or_a_device_is_no_packed_bundle(tmp_path: Path) -> None:
    pytest.importorskip("securesystemslib")
    os.mkfifo(tmp_path / "pipe")
    script = "import sys; from kdlight_edge.cli import main; sys.stderr = sys.stdout\n"
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        shown = said(script + "print('exit', main(['bundle', 'show', sys.argv[1]]))", path)
        assert shown == [
            f"kdlight-edge: {path} is a pipe or device and no packed bundle; give a file of bundle sign", "exit 5",
        ]  # fmt: skip
