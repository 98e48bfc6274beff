"""A package that is there and does not import says why in one line, whatever it prints meanwhile."""

import sys
from pathlib import Path

import numpy as np
import pytest

from kdlight_edge.checkup import _import_failure
from kdlight_edge.errors import MissingPackage
from kdlight_edge.late import import_late

COMPLAINT = "A module that was compiled using NumPy 1.x cannot be run in"
"""What NumPy 2 writes, with a trace, before onnxruntime 1.18 raises an ImportError without a word."""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that ``import oldruntime`` finds."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "oldruntime", raising=False)
    return tmp_path / "oldruntime.py"


def test_a_package_built_for_numpy_1_is_one_line_that_says_what_to_install(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module.write_text(f"import sys\nsys.stderr.write({COMPLAINT!r})\nraise ImportError\n")
    mend = "pip install 'numpy<2', or a newer oldruntime"
    line = f"oldruntime was built for NumPy 1 and NumPy {np.__version__} is here; {mend}"
    with pytest.raises(MissingPackage) as raised:
        import_late("oldruntime", "oldruntime")
    assert str(raised.value) == line
    assert capsys.readouterr().err == ""
    assert _import_failure("oldruntime") == line


def test_what_another_package_prints_is_not_lost(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module.write_text("import sys\nsys.stderr.write('careful')\nraise ImportError('libgomp.so.1')\n")
    with pytest.raises(MissingPackage, match=r"is installed and does not import \(libgomp\.so\.1\)"):
        import_late("oldruntime", "oldruntime")
    assert capsys.readouterr().err == "careful"
    module.write_text("import sys\nsys.stderr.write('welcome')\n")
    assert import_late("oldruntime", "oldruntime").__name__ == "oldruntime"
    assert capsys.readouterr().err == "welcome"
