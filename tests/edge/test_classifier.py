"""A classifier answers only after its golden pictures, and its answer says where the time went."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdlight_edge.bundle import open_bundle, write_bundle
from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.decide import Settings
from kdlight_edge.engines import Outputs, open_engine
from kdlight_edge.engines.onnxruntime import OnnxRuntimeEngine
from kdlight_edge.errors import BundleError, ParityError
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.golden import golden_picture
from kdlight_edge.prepare import prepare
from tests.edge.fakes import FakeEngine

Make = Callable[..., Path]


def coloured(*rgb: int, **meta: float) -> Frame:
    return Frame(np.full((20, 30, 3), rgb, np.uint8), Moment.now(), "memory", 0, 0, meta)


def test_a_frame_is_classified_with_the_time_of_each_stage(tiny_bundle: Make) -> None:
    with open_classifier(tiny_bundle(), threads=1, settings=Settings(topk=2)) as classifier:
        red = classifier.classify(coloured(255, 0, 0, decode_ms=1.5))
        green = classifier.classify(coloured(0, 255, 0))
    assert (red.label, red.decision, green.label) == ("crack", "accepted", "no_crack")
    assert len(red.top) == 2
    assert red.milliseconds is not None
    assert list(red.milliseconds) == ["decode", "prepare", "infer"]
    assert red.milliseconds["decode"] == 1.5
    assert list(green.milliseconds or ()) == ["prepare", "infer"]


def test_the_origin_names_engine_precision_and_bundle(tiny_bundle: Make) -> None:
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        manifest = classifier.bundle.manifest
        assert classifier.origin == {
            "engine": "onnxruntime",
            "precision": "fp32",
            "fallback": None,
            "bundle": {"name": "tiny", "version": "1", "digest": manifest.digest[:16]},
            "throttled": None,
        }


def test_pictures_of_different_sizes_make_one_batch(tiny_bundle: Make) -> None:
    images = [golden_picture(1), golden_picture(2)[:50, :70], np.zeros((1, 1, 3), np.uint8)]
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        outputs = classifier.outputs(images, cam=True)
        alone = classifier.engine.run(prepare(images[1], classifier.bundle.manifest)[np.newaxis])
    assert outputs.logits.shape == (3, 2)
    assert outputs.cam is not None
    np.testing.assert_allclose(outputs.logits[1], alone.logits[0], rtol=1e-5)


def test_the_golden_pictures_are_answered_as_they_were_at_export(tiny_bundle: Make) -> None:
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        assert classifier.verify() <= classifier.bundle.manifest.golden.tolerance


def test_an_engine_that_answers_differently_may_not_serve_and_is_let_go_of(
    tiny_bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(OnnxRuntimeEngine, "__exit__", lambda engine, *_: closed.append(engine.name))
    path = tiny_bundle()
    closed.clear()
    bundle = open_bundle(path)
    golden = bundle.manifest.golden
    wrong = {"model.onnx": tuple(tuple(value + 0.5 for value in row) for row in golden.logits["model.onnx"])}
    manifest = dataclasses.replace(bundle.manifest, golden=dataclasses.replace(golden, logits=wrong))
    write_bundle(path, manifest, {"model.onnx": (path / "model.onnx").read_bytes()})
    with pytest.raises(ParityError, match=r"logits off by 0\.5 \(allowed 0\.001\); do not use it here"):
        open_classifier(path, threads=1)
    assert closed == ["onnxruntime"]


class BrokenEngine(FakeEngine):
    """An engine whose arithmetic is damaged, as a GPU's may be."""

    def run(self, batch: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", *, cam: bool = False) -> Outputs:
        """Answer with logits that are not numbers."""
        answer = super().run(batch, cam=cam)
        return answer._replace(logits=np.full_like(answer.logits, np.nan))


def test_an_engine_that_answers_nan_may_not_serve(tiny_bundle: Make) -> None:
    bundle = open_bundle(tiny_bundle())
    engine = BrokenEngine(2)
    engine.artifact = bundle.manifest.artifacts[0]
    classifier = Classifier(bundle, engine, Settings())
    with pytest.raises(ParityError, match="logits off by nan"):
        classifier.verify()
    assert classifier.classify(coloured(255, 0, 0)).decision == "error"


def test_a_resize_that_changed_is_seen_by_the_golden_pictures(tiny_bundle: Make) -> None:
    bundle = open_bundle(tiny_bundle())
    cropped = dataclasses.replace(bundle.manifest, input=dataclasses.replace(bundle.manifest.input, resize="crop"))
    changed = dataclasses.replace(bundle, manifest=cropped)
    with open_engine(bundle, threads=1) as engine, pytest.raises(ParityError):
        Classifier(changed, engine, Settings()).verify()


def test_a_bundle_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle at"):
        open_classifier(tmp_path / "gone.kdl")
