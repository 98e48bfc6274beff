"""Building an engine by hand, as the page says: what is misspelt is told in one line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.edge.fake_tensorrt import add_plan


def built(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kdlight_edge.engines.tensorrt_build", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_without_a_bundle_and_a_plan_the_usage_is_told(count: int) -> None:
    ran = built(*["word"] * count)
    assert ran.returncode == 2
    assert ran.stderr == "usage: python -m kdlight_edge.engines.tensorrt_build NAME.kdl FILE.tensorrt.json\n"


@pytest.mark.parametrize("file", ["model.tensorrt", "model.onnx"])
def test_what_is_no_plan_of_the_bundle_is_told_with_those_that_are(tiny_bundle: Callable[..., Path], file: str) -> None:
    path = tiny_bundle()
    ran = built(path, file)
    assert (ran.returncode, ran.stderr) == (2, f"{path} has no build plan {file}; its plans: none\n")
    add_plan(path)
    ran = built(path, file)
    assert (ran.returncode, ran.stderr) == (2, f"{path} has no build plan {file}; its plans: model.tensorrt.json\n")
