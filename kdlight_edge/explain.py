"""Where the network saw the class that it decided for, laid over the picture: what ``infer --explain`` draws."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.evidence import Picture, evidence, lay

Explain: TypeAlias = Callable[[Prediction, Picture, Picture], Picture]
"""`explained` of one classifier."""

FAINT = 1.0
"""Evidence (logits, of a place against the other classes) below which nothing is shown at full strength."""


def explained(classifier: Classifier, prediction: Prediction, image: Picture, drawn: Picture) -> Picture:
    """Lay the class activation map of the decided class over a picture: clear, then amber, then red.

    Costs one more answer of the engine.

    Args:
        classifier: that answered; must be open.
        prediction: its answer.
        image: that was answered, uint8 [h, w, 3] RGB.
        drawn: what is drawn on: the same at any scale.

    Returns:
        Uint8 of the shape of ``drawn``; ``drawn`` itself where there is no label, or no map of it.
    """
    manifest = classifier.bundle.manifest
    decided = next((i for i, label in enumerate(manifest.labels) if label.id == prediction.label), None)
    cam = None if decided is None else classifier.outputs([image], cam=True).cam
    if decided is None or cam is None:
        return drawn
    spoken = np.maximum(evidence(cam[0], decided), 0)
    share = np.clip(spoken / max(FAINT, float(np.percentile(spoken, 97))), 0, 1)
    return lay(share, drawn, manifest.input)
