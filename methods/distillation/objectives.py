"""From settings to what a training minimises: the labels' share, the teacher's share and a loss of features.

Logits losses L (kd, dkd, dist):      alpha beta L + (1 - alpha) CE, beta = 1 for kd, which holds T^2
Losses F of features (at, fitnet, rkd):  alpha T^2 KL + (1 - alpha) CE + beta F

`at` is attention transfer (Zagoruyko and Komodakis 2017, arXiv 1612.03928, as in their code), `fitnet` hints (Romero et
al. 2015, arXiv 1412.6550: here along with the rest of the training, at every size of map), `rkd` relations between the
images of a batch (Park et al. 2019, arXiv 1904.05068, distances 25, angles 50).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Objective, Refused, Task
from methods.distillation.features import common_maps, last_features, run_keeping, shapes
from methods.distillation.losses import LogitsLoss, logits_loss
from methods.distillation.teaching import OF_LOGITS, Teaching
from methods.graph import trace

FeatureLoss = Callable[[Sequence[tuple[Tensor, Tensor]]], Tensor]  # pairs (student's, teacher's) -> a number
_DISTANCES, _ANGLES = 25.0, 50.0


class OfLogits(Objective):
    """alpha times a loss of logits and 1 - alpha times the mean cross entropy."""

    def __init__(self, teacher: GraphModule, alpha: float, loss: LogitsLoss, weight: float) -> None:
        self.teacher = teacher
        self.alpha = alpha
        self.loss = loss
        self.weight = weight

    def __call__(self, model: GraphModule, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(images)
        with torch.no_grad():
            taught = self.teacher(images)
        with torch.autocast(images.device.type, enabled=False):
            soft = self.weight * self.loss(logits.float(), taught.float(), labels)
            return logits, self.alpha * soft + (1 - self.alpha) * F.cross_entropy(logits.float(), labels)


class OfFeatures(Objective):
    """The objective of logits and a loss of pairs of values on the way to them.

    pairs: names of (student's, teacher's) graph nodes.
    """

    def __init__(
        self,
        teacher: GraphModule,
        teaching: Teaching,
        pairs: Sequence[tuple[str, str]],
        loss: FeatureLoss,
        beside: nn.Module | None = None,
    ) -> None:
        self.teacher = teacher
        self.teaching = teaching
        self.pairs = pairs
        self.loss = loss
        self.beside = beside
        self.soft = logits_loss("kd", teaching.temperature)

    def __call__(self, model: GraphModule, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits, own = run_keeping(model, images, {name for name, _ in self.pairs})
        with torch.no_grad():
            taught, other = run_keeping(self.teacher, images, {name for _, name in self.pairs})
        alpha = self.teaching.alpha
        with torch.autocast(images.device.type, enabled=False):
            features = self.loss([(own[one].float(), other[two].float()) for one, two in self.pairs])
            soft = self.soft(logits.float(), taught.float(), labels)
            hard = F.cross_entropy(logits.float(), labels)
            return logits, alpha * soft + (1 - alpha) * hard + self.teaching.weight * features


def objective(teaching: Teaching, teacher: GraphModule, student: GraphModule, task: Task) -> Objective:
    """What `student` minimises to learn from `teacher`.

    Raises:
        Refused: the two have no maps of one size, or no features, to be compared.
    """
    if teaching.loss in OF_LOGITS:
        loss = logits_loss(teaching.loss, teaching.temperature)
        return OfLogits(teacher, teaching.alpha, loss, teaching.weight)
    images = next(iter(task.calibration(2)))
    own, other = shapes(student, images), shapes(teacher, images)
    pairs = _compared(teaching, own, other)
    if teaching.loss == "rkd":
        return OfFeatures(teacher, teaching, pairs, _relations())
    if teaching.loss == "at":
        return OfFeatures(teacher, teaching, pairs, _attention())
    widths = [(own[one][1], other[two][1]) for one, two in pairs]
    regressors = _regressors(widths, task.seed).to(images.device)
    return OfFeatures(teacher, teaching, pairs, _Hints(regressors), regressors)


def incomparable(teaching: Teaching, networks: Callable[[], tuple[nn.Module, nn.Module]], images: Tensor) -> str | None:
    """The reason why the loss cannot compare the two `networks`, teacher and student, or None.

    networks: makes the two, where the loss needs them.
    """
    if teaching.loss in (*OF_LOGITS, "none"):
        return None
    try:
        other, own = (shapes(trace(network.eval()), images) for network in networks())
        _compared(teaching, own, other)
    except Refused as refused:
        return str(refused)
    return None


def _compared(teaching: Teaching, own: dict[str, torch.Size], other: dict[str, torch.Size]) -> list[tuple[str, str]]:
    """Tensors of the student and the teacher that a loss of features compares.

    Raises:
        Refused: there are none.
    """
    if teaching.loss == "rkd":
        one, two = last_features(own), last_features(other)
        if one is None or two is None:
            raise Refused("loss=rkd compares what logits are made of, and one of the networks has nothing before them")
        return [(one, two)]
    pairs = common_maps(own, other)
    if not pairs:
        raise Refused(f"loss={teaching.loss} compares maps of one size, and student and teacher have none in common: "
                      f"take a loss of logits (kd, dkd, dist) or rkd")  # fmt: skip
    return pairs


def _relations() -> FeatureLoss:
    from torchdistill.losses.mid_level import RKDLoss

    module = RKDLoss("features", "features", _DISTANCES, _ANGLES, "mean")

    def loss(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        ((own, other),) = pairs
        found: Tensor = module({"features": {"output": own}}, {"features": {"output": other}})
        return found

    return loss


def _attention() -> FeatureLoss:
    from torchdistill.losses.mid_level import ATLoss

    module = ATLoss({})

    def loss(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        return torch.stack([module.compute_at_loss(own, other) for own, other in pairs]).sum()

    return loss


def _regressors(widths: Sequence[tuple[int, int]], seed: int) -> nn.ModuleList:
    """1x1 convolutions from a student's channels to a teacher's, drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.ModuleList(nn.Conv2d(own, other, 1) for own, other in widths)


class _Hints:
    """The mean squared error of a teacher's maps as regressors tell them from a student's; a mean over the sizes."""

    def __init__(self, regressors: nn.ModuleList) -> None:
        self.regressors = regressors

    def __call__(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        missed = [F.mse_loss(regressor(own), other)
                  for regressor, (own, other) in zip(self.regressors, pairs, strict=True)]  # fmt: skip
        return torch.stack(missed).mean()
