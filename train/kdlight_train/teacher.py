"""The teacher: a torchvision classifier with ImageNet weights and a new last layer."""

import copy
import pickle
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from kdlight_edge.errors import DataError, UsageError
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


def make_teacher(name: str, classes: int, weights: Path | None, *, seed: int = 0) -> Teacher:
    """Return a teacher ready for fine-tuning.

    Args:
        name: of a torchvision classifier (``mobilenet_v2``, ``mobilenet_v3_large``, ``resnet18``, …).
        classes: outputs of the new last layer.
        weights: a state dict of torchvision's network for ImageNet; None lets torchvision download its own.
        seed: of the new layer's initial weights.

    Raises:
        UsageError: no such classifier, or its last layer is not linear.
        DataError: the weights cannot be read, do not fit, or cannot be downloaded.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UsageError(f"--teacher {name} is unknown to torchvision {torchvision.__version__}; mobilenet_v2 is usual")
    network = torchvision.models.get_model(name, weights=None)
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


def for_answers(teacher: nn.Module, place: Place) -> nn.Module:
    """Return a copy that only answers, as fast as the place allows.

    On a CPU with bfloat16 its batch norms are folded and its weights converted once, which saves the conversions
    and passes of autocast; elsewhere the copy is the teacher itself, moved.
    """
    if not place.bf16 or place.device.type != "cpu" or not isinstance(teacher, Teacher):
        return move(teacher, place).eval()
    try:
        network = fuse(copy.deepcopy(teacher.network).eval())
    except TraceError:
        return move(teacher, place).eval()  # a network with branches on values cannot be folded this way
    return move(_Answering(teacher, network.to(torch.bfloat16)), place).eval()


class _Answering(Teacher):
    """A teacher whose network is bfloat16: pictures are converted behind the normalisation."""

    def __init__(self, teacher: Teacher, network: nn.Module) -> None:
        super().__init__(network)
        self.mean, self.std = teacher.mean.cpu(), teacher.std.cpu()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, bfloat16 [N, classes], of float [N, 3, h, w] in 0..1."""
        y: Tensor = self.network(((x - self.mean) / self.std).to(torch.bfloat16))
        return y


def _state(name: str, weights: Path | None, network: nn.Module) -> dict[str, Tensor]:
    """Read the ImageNet weights from a file, or through torchvision's own download."""
    if weights is None:
        try:
            state: dict[str, Tensor] = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(progress=True)
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
