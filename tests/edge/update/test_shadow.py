"""A candidate in the shadow answers the very pixels that were served, however fast the camera goes on."""

import json
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.prepare import need_of
from kdlight_edge.sources.latest import Latest, Slot
from kdlight_edge.update.shadow import Shadow, said
from kdlight_edge.update.state import State
from tests.edge.encoded import jpeg
from tests.waiting import LIMIT, until


def answer(state: State) -> dict[str, object]:
    until(state.shadow_answer.exists, "word of the shadow")
    told: dict[str, object] = json.loads(state.shadow_answer.read_text())
    return told


def test_a_camera_that_decodes_over_a_frame_does_not_change_what_the_shadow_compares(
    bundle: Callable[..., Path], state: State
) -> None:
    state.prepare()
    model, overwritten = bundle("1"), threading.Event()
    feed: queue.Queue[bytes | None] = queue.Queue()

    def capture(slot: Slot) -> None:
        while (content := feed.get()) is not None:
            slot.put(content, Moment.now())

    def opener(path: str | Path) -> Classifier:
        assert overwritten.wait(LIMIT)  # the slowest candidate
        return open_classifier(path, engine="onnxruntime", threads=1)

    camera = Latest("http://camera/", capture)
    shadow = Shadow(state, opener, print)
    with open_classifier(model, engine="onnxruntime", threads=1) as serving:
        camera.shrink(need_of(serving.bundle.manifest.input, live=True))  # as without a sink that draws
        state.shadow_request.write_text(json.dumps({"id": "1", "model": str(model), "frames": 1}))
        shadow.look()
        frames = iter(camera)
        decisions = []
        for content in (jpeg((255, 0, 0), (64, 64)), jpeg((0, 255, 0), (64, 64))):
            feed.put(content)
            frame = next(frames)
            assert isinstance(frame, Frame)
            prediction = serving.classify(frame)
            decisions.append(said(prediction))
            shadow.offer(prediction, frame)
    overwritten.set()
    feed.put(None)
    assert decisions == ["accepted crack", "accepted no_crack"]
    assert answer(state) == {"id": "1", "frames": 1, "same": 1, "differences": {}}
    shadow.close()
    camera.close()
