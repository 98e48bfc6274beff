"""A result and a frame as sinks are given them."""

from typing import Any

import numpy as np

from kdlight_edge.decide import Prediction
from kdlight_edge.frame import Frame, Moment

NOW = Moment(1_700_000_000.25, 10.0)
LATER = Moment(1_700_000_000.75, 10.5)


def prediction(source: str = "in/a.jpg", *, decision: str = "accepted", index: int = 3) -> Prediction:
    top = (("crack", 0.9), ("no_crack", 0.1))
    stages = {"infer": 2.0}
    return Prediction(source, index, NOW, LATER, decision, "", "crack", 0.9, top, 0.25, 2, stages)


def frame(image: Any = None, *, index: int = 0, **meta: object) -> Frame:
    picture = np.full((30, 40, 3), (220, 0, 0), np.uint8) if image is None else image
    return Frame(picture, Moment.now(), "in/a.jpg", index, 0, meta)
