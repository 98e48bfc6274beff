"""What a student is taught with: one readable function a method, on logits.

Every function takes float [N, C] logits and returns a scalar, the mean over the N pictures.

``standardised`` and ``dist`` compare the *shape* of the answers over the classes. With two classes that shape has one
value only (any two numbers standardise to -1 and 1), and ``dkd`` has no other classes to order, so none of them
can teach there and all are refused.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor

from kdlight_edge.errors import UsageError

SMALL = 1e-7


def kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the softened answers (Hinton, Vinyals, Dean 2015), times temperature squared."""
    wanted = F.log_softmax(teacher / temperature, dim=1)
    given = F.log_softmax(student / temperature, dim=1)
    return F.kl_div(given, wanted, reduction="batchmean", log_target=True) * temperature**2


def standardised(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`kl` of logits brought to mean 0 and deviation 1 for each picture (Sun et al., CVPR 2024)."""
    return kl(_standardise(student), _standardise(teacher), temperature)


def dist(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """One minus the correlation of the answers, over classes and over the batch (DIST; Huang et al., NeurIPS 2022).

    Both relations weigh 2, as in the paper.
    """
    given, wanted = (student / temperature).softmax(dim=1), (teacher / temperature).softmax(dim=1)
    between = 1 - _correlation(given, wanted, dim=1).mean()
    within = 1 - _correlation(given, wanted, dim=0).mean()
    return 2 * temperature**2 * (between + within)


def dkd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of "is it this class", plus 8 times that of the order of the others (DKD; Zhao et al., CVPR 2022).

    The class is the teacher's own answer: pictures are mixed here, so that a single true class does not exist.
    """
    wanted, given = (teacher / temperature).log_softmax(dim=1), (student / temperature).log_softmax(dim=1)
    chosen = F.one_hot(teacher.argmax(dim=1), teacher.shape[1]).bool()
    pair = [
        torch.stack([x[chosen], x.masked_fill(chosen, -torch.inf).logsumexp(dim=1)], dim=1) for x in (given, wanted)
    ]
    is_it = F.kl_div(pair[0], pair[1], reduction="batchmean", log_target=True)
    rest = [x[~chosen].view(len(x), -1).log_softmax(dim=1) for x in (given, wanted)]
    others = F.kl_div(rest[0], rest[1], reduction="batchmean", log_target=True)
    return (is_it + 8 * others) * temperature**2


METHODS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "kl": kl, "standardised": standardised, "dist": dist, "dkd": dkd,
}  # fmt: skip
"""Name in a recipe to function."""


def method(name: str, classes: int) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Return the loss of that name.

    Raises:
        UsageError: the method cannot teach that number of classes.
    """
    if classes == 2 and name != "kl":  # noqa: PLR2004 - see the head of this file
        raise UsageError(f"distil.method {name} cannot teach two classes (their logits have one shape only); use kl")
    return METHODS[name]


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with soft targets, float [N, C], smoothed towards the uniform answer."""
    return F.cross_entropy(logits, target, label_smoothing=smoothing)


def labels_given(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """`cross_entropy` of pictures of which some have no label, and mixed ones a part of one: they count as far.

    A target that sums to 0 is no label; the mean is over those that there are.
    """
    given = target.sum(dim=1, keepdim=True)
    smooth = target * (1 - smoothing) + given * smoothing / target.shape[1]
    return -(smooth * logits.log_softmax(dim=1)).sum() / given.sum().clamp(min=1)


def _standardise(logits: Tensor) -> Tensor:
    deviation = logits.std(dim=1, keepdim=True, correction=0)
    return (logits - logits.mean(dim=1, keepdim=True)) / (deviation + SMALL)


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along one dimension."""
    a = a - a.mean(dim=dim, keepdim=True)
    b = b - b.mean(dim=dim, keepdim=True)
    product: Tensor = (a * b).sum(dim=dim) / (
        torch.linalg.vector_norm(a, dim=dim) * torch.linalg.vector_norm(b, dim=dim) + SMALL
    )
    return product
