"""The self-test: every fault against the real runtime in a process of its own, and judges that can say no."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kdlight_edge.cli import main
from kdlight_edge.selftest.bench import finish
from kdlight_edge.selftest.camera import Camera
from kdlight_edge.selftest.checks import check
from kdlight_edge.selftest.child import Run, infer
from kdlight_edge.selftest.faults import FAULTS, inject
from kdlight_edge.selftest.outcome import Found, Outcome, Wrong, judge
from tests.edge.fake_tensorrt import add_plan


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_survives(fault: str, tiny_bundle: Callable[..., Path]) -> None:
    (outcome,) = inject([fault], str(tiny_bundle()))
    assert outcome.status == "ok", outcome.text


def test_every_part_is_checked_and_told(tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--model", str(tiny_bundle(openvino=True)), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["schema"] == "kdlight-edge/selftest/1"
    assert told["well"]
    outcomes = {outcome["name"]: outcome["status"] for outcome in told["outcomes"]}
    for name in ("bundle", "engine onnxruntime", "engine openvino", "decoders", "camera", "sinks", "clock", "disk"):
        assert outcomes[name] == "ok", name


def test_an_engine_that_this_machine_cannot_run_or_has_not_built_yet_is_no_failure(
    tiny_bundle: Callable[..., Path],
) -> None:
    path = add_plan(tiny_bundle(), engine=False)
    (outcome,) = (one for one in itertools.islice(check(str(path)), 4) if one.name == "engine tensorrt")
    assert outcome.status == "skipped"
    assert "tensorrt needs" in outcome.text or "was built for this" in outcome.text


def test_what_is_not_well_is_told_with_its_own_exit_code(
    tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle()
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[-1] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    assert main(["selftest", "--model", str(bundle)]) == 7
    out, err = capfd.readouterr()
    assert "- bundle" in out
    assert "+ decoders" in out
    assert "not well: bundle" in err


def test_unknown_faults_and_times_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--faults", "unplug,fire"]) == 2
    assert "--faults fire is unknown; choose all, or of unplug, freeze" in capfd.readouterr().err
    assert main(["selftest", "--duration", "-1"]) == 2


def test_a_run_that_cannot_start_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    (outcome,) = inject(["unplug"], str(tmp_path / "nothing.kdl"))
    assert outcome.status == "failed"
    assert "exit code 5" in outcome.text


def test_a_fault_of_ours_is_a_failure_and_no_crash() -> None:
    def broken() -> Found:
        raise RuntimeError("boom")

    assert judge("x", broken).status == "failed"
    assert judge("x", broken).text == "RuntimeError: boom"
    assert isinstance(judge("x", lambda: Found("fine")), Outcome)


def _said(*pairs: tuple[int, int], torn: int = 0, code: int = 0) -> Run:
    records = [{"index": index, "dropped": dropped, "decision": "accepted"} for index, dropped in pairs]
    return cast("Run", SimpleNamespace(records=records, torn=torn, wait=lambda *_: None, stop=lambda: code))


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (_said((0, 0), (0, 0), (2, 0)), "answered twice"),
        (_said((1, 0), (0, 0), (2, 0)), "out of order"),
        (_said((0, 0), (2, 0), (3, 0)), "3 pictures were sent"),
        (_said((0, 0), (2, 0)), "2 counted"),
        (_said((0, 0), (1, 0), (2, 0), torn=1), "not whole"),
        (_said((0, 0), (1, 0), (2, 0), code=-9), "exit code -9"),
    ],
)
def test_results_that_were_counted_wrong_are_found(run: Run, said: str) -> None:
    camera: Any = SimpleNamespace(sent=3, switch=lambda _: None)
    with pytest.raises(Wrong, match=said):
        finish(run, camera)
    assert finish(_said((0, 0), (2, 1)), camera) == {"sent": 3, "answered": 2, "dropped": 1}


def test_what_does_not_come_is_told_with_what_was_said_last(tiny_bundle: Callable[..., Path]) -> None:
    with Camera() as camera, infer(camera.uri, str(tiny_bundle())) as run:
        run.more(1)
        with pytest.raises(Wrong, match=r"word of a fire did not come: 0\.1 s passed"):
            run.wait(lambda: run.said("fire") is not None, "word of a fire", 0.1)
        assert run.stop() == 0
        with pytest.raises(Wrong, match="the run ended with exit code 0"):
            run.more(1)
