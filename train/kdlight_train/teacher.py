"""The teacher: a torchvision classifier with ImageNet weights and a new last layer."""

import contextlib
import copy
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from kdlight_edge.errors import DataError, UsageError
from kdlight_train.components import feature_part
from kdlight_train.place import Place, move

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of the pictures that torchvision's weights were trained on, per channel of RGB in 0..1."""


class Teacher(nn.Module):
    """A classifier that takes the same pictures as the student, float [N, 3, h, w] in 0..1."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, float [N, classes]."""
        y: Tensor = self.network((x - self.mean) / self.std)
        return y


def make_teacher(name: str, classes: int, weights: Path | None, *, seed: int = 0, begun: bool = False) -> Teacher:
    """Return a teacher ready for fine-tuning.

    Args:
        name: of a torchvision classifier (``mobilenet_v2``, ``mobilenet_v3_large``, ``resnet18``, …).
        classes: outputs of the new last layer.
        weights: a state dict of torchvision's network for ImageNet; None lets torchvision download its own.
        seed: of the new layer's initial weights.
        begun: a checkpoint holds all its weights: none are read, and none downloaded.

    Raises:
        UsageError: no such classifier, or its last layer is not linear.
        DataError: the weights cannot be read, do not fit, or cannot be downloaded.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UsageError(f"--teacher {name} is unknown to torchvision {torchvision.__version__}; mobilenet_v2 is usual")
    network = torchvision.models.get_model(name, weights=None)
    if not begun:
        network.load_state_dict(_state(name, weights, network))
    last = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)]
    final = [key for key, _ in network.named_modules() if key][-1]
    if not last or last[-1] != final:
        raise UsageError(f"--teacher {name} does not end in a linear layer; mobilenet_v2 does")
    old = network.get_submodule(final)
    parent, _, leaf = final.rpartition(".")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        setattr(network.get_submodule(parent), leaf, nn.Linear(old.in_features, classes))
    return Teacher(network)


def freeze(teacher: Teacher, name: str, stages: int) -> None:
    """Keep the weights of the first stages of the feature part as they are; their batch norms still follow the data.

    Raises:
        UsageError: the network has no feature part, or not so many stages.
    """
    if not stages:
        return
    part = feature_part(teacher.network, name)
    if stages >= len(list(part.children())):
        raise UsageError(f"teacher.frozen is {stages}; {name} has {len(list(part.children()))} stages, keep some free")
    for stage in list(part.children())[:stages]:
        stage.requires_grad_(requires_grad=False)


Answers = Callable[[Tensor], Any]
"""From pictures, float [N, 3, h, w] in 0..1, to logits, float [N, C], or to logits and a feature map [N, D, h, w]."""


def for_answers(teacher: nn.Module, place: Place) -> nn.Module:
    """Return a copy that only answers, as fast as the place allows.

    On a CPU with bfloat16 its batch norms are folded and its weights converted once, which saves the conversions
    and passes of autocast; elsewhere the copy is the teacher itself, moved.
    """
    if not isinstance(teacher, Teacher):
        return move(teacher, place).eval()
    return _answering(teacher, teacher.network, place)


def for_maps(teacher: nn.Module, name: str, place: Place) -> nn.Module:
    """Return a copy that gives its logits and its last feature map.

    Raises:
        UsageError: the network is not a feature part, a mean over places and a classifier.
    """
    if not isinstance(teacher, Teacher):
        raise UsageError(f"distil.hint: {name} is no teacher of torchvision's kind; mobilenet_v2 is")
    classifier = getattr(teacher.network, "classifier", None)
    if not isinstance(classifier, nn.Module):
        raise UsageError(f"distil.hint: --teacher {name} is not features and a classifier; mobilenet_v2 is")
    return _answering(teacher, _Mapped(feature_part(teacher.network, name), classifier), place)


class _Mapped(nn.Module):
    """A classifier that also returns its last feature map."""

    def __init__(self, convolutions: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = convolutions, classifier

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.features(x)
        return self.classifier(maps.mean(dim=(2, 3))), maps


def _answering(teacher: Teacher, network: nn.Module, place: Place) -> nn.Module:
    whole, dtype = copy.deepcopy(network).eval(), torch.float32
    if place.bf16 and place.device.type == "cpu":
        with contextlib.suppress(TraceError):  # a network with branches on values cannot be folded this way
            whole, dtype = fuse(whole).to(torch.bfloat16), torch.bfloat16
    return move(_Answering(whole, teacher, dtype), place).eval()


class _Answering(nn.Module):
    """A network that takes what the teacher takes; pictures are converted behind the normalisation."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, teacher: Teacher, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network, dtype
        self.register_buffer("mean", teacher.mean.detach().cpu().clone())
        self.register_buffer("std", teacher.std.detach().cpu().clone())

    def forward(self, x: Tensor) -> Any:
        """Return what the network returns."""
        return self.network(((x - self.mean) / self.std).to(self._dtype))


def _state(name: str, weights: Path | None, network: nn.Module) -> dict[str, Tensor]:
    """Read the ImageNet weights from a file, or through torchvision's own download."""
    if weights is None:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # torch says there where from, and stdout is for data
                best = torchvision.models.get_model_weights(name).DEFAULT
                state: dict[str, Tensor] = best.get_state_dict(progress=True)
        except OSError as error:
            raise DataError(
                f"the weights of {name} could not be downloaded ({error}); give a file with --teacher-weights"
            ) from error
        return state
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        missing = set(network.state_dict()) - set(state)
        wrong = [key for key, value in network.state_dict().items() if key in state and state[key].shape != value.shape]
    except (OSError, RuntimeError, ValueError, AttributeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise DataError(f"--teacher-weights {weights} is not a PyTorch file of weights only") from error
    if missing or wrong:
        example = min(missing or wrong)
        raise DataError(
            f"--teacher-weights {weights} does not fit {name} (first at {example}); give --teacher its name"
        )
    return {key: state[key] for key in network.state_dict()}
