"""``update --wait``: its exit code tells what became of a version that is in its place already."""

import types
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.cli import main
from kdlight_edge.commands import update as command
from kdlight_edge.update import ledger
from kdlight_edge.update.state import State


@pytest.mark.parametrize(
    ("meanwhile", "code", "serves", "line"),
    [
        (None, 1, True, r"is in its place and has not proved itself; does the service run"),
        ("rolled back", 5, False, r"was rolled back: it fell over"),
        ("proved", 0, True, r"is in its place"),
    ],
)
def test_the_exit_code_tells_what_came_after_the_switch(
    meanwhile: str | None, code: int, serves: bool, line: str,  # noqa: FBT001 - a parameter of a test
    bundle: Callable[..., Path], keys: Path, state: State, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    clock = [0.0]

    def sleep(seconds: float) -> None:
        """Let the time pass, in which a service rolls back, proves or does not run."""
        clock[0] += 100 * seconds
        version = state.current() or ""
        if meanwhile == "rolled back":
            state.roll_back("it fell over")
        elif meanwhile == "proved":
            state.change(lambda old: ledger.proved(old, version))

    monkeypatch.setattr(command, "time", types.SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    file = tmp_path / "stick.kdl.tar"
    assert main(["bundle", "sign", str(bundle("1")), "--key", str(keys / "field.key"), "--out", str(file)]) == 0
    given = ["--from", str(file), "--keys", str(keys), "--state", str(state.folder), "--board", "other"]
    assert main(["update", *given, "--probation", "1", "--wait"]) == code
    assert (state.current() is not None) == serves
    assert line in capfd.readouterr().err


def test_the_help_says_that_a_wait_may_fail_after_the_switch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["update", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "after any but 0 nothing has changed, but for --wait: 1 may say that the version is in its place" in told
