"""How often a file turns the held-out pictures away: what a fleet later holds its boards' rates against."""

import dataclasses
from collections import Counter

import numpy as np

from kdlight_edge.decide import Settings, decide
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.manifest import Artifact, Manifest
from kdlight_export.parity import LEAST_PICTURES, Parity


def with_usual(artifact: Artifact, manifest: Manifest, parity: Parity) -> Artifact:
    """Return the artifact with its usual rates, decided by the runtime's own rule; as it is where pictures are few.

    Args:
        artifact: with its final temperature and thresholds.
        manifest: names the labels.
        parity: its answers to the held-out pictures.
    """
    count = len(parity.logits)
    if count < LEAST_PICTURES:
        return artifact
    nothing = np.zeros((1, 1, 3), np.uint8)
    decisions = Counter(
        decide(Frame(nothing, Moment.now(), "", 0), logits, float(outlier), manifest, artifact, Settings()).decision
        for logits, outlier in zip(parity.logits, parity.outlier, strict=True)
    )
    return dataclasses.replace(
        artifact, usual={name: round(decisions[name] / count, 4) for name in ("abstained", "outlier")}
    )
