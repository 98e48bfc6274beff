"""Which bundle a run answers with: the one named, or with ``--state`` the one that an update put there."""

import argparse
import contextlib
import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.decide import Settings
from kdlight_edge.sources import tell

if TYPE_CHECKING:
    from kdlight_edge.sinks import Sink
    from kdlight_edge.update.serving import Tenure


class Settled(contextlib.nullcontext[None]):
    """Stands in the place of a `Tenure` where no update can come."""

    sinks: "tuple[Sink, ...]" = ()


def open_tenant(
    args: argparse.Namespace,
    model: str | None,
    settings: Settings,
    threads: int,
    stop: threading.Event,
    *,
    succeed: bool,
) -> "tuple[Classifier, Tenure | Settled]":
    """Open the bundle, and what watches over its time in office; raises as `open_classifier` does."""
    opener = functools.partial(open_classifier, engine=args.engine, threads=threads, settings=settings)
    if args.state is None:
        return opener(model or "", succeed=succeed), Settled()
    from kdlight_edge.update.serving import Tenure, open_serving
    from kdlight_edge.update.state import State

    state = State(Path(args.state))
    classifier, version = open_serving(state, model, functools.partial(opener, succeed=succeed), tell)
    return classifier, Tenure(state, version, classifier, stop, opener=opener, factory=model, tell=tell)
