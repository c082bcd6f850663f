"""Scores by the loss: what setting a weight to zero would do to it, by its first or second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule

from methods.base import Refused, Task
from methods.layers import original
from methods.pruning.scoring import Score, Stored, value

_EXAMPLES = 1024  # training images with their classes, of first derivatives
_EXACT_CLASSES = 16  # up to which the curvature is summed over all classes, one backward pass each
_EXACT_IMAGES = 256
_SAMPLED_IMAGES = 2048  # one backward pass each


class Snip(Score):
    """|w g|, g the gradient of the mean cross entropy over training images (Lee et al. 2019, arXiv 1810.02340,
    equation 5, which divides by the sum of all: the ranks are the same). There it is taken before training, here of the
    network as it is, where gradients of the whole are small and those of single images cancel."""

    @torch.enable_grad()
    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        totals, images = [torch.zeros_like(value(layer, name)) for _, layer, name in stored], 0
        for count, gradients in _of_batches(model, stored, task):
            images += count
            totals = [total + count * one for total, one in zip(totals, gradients, strict=True)]
        return [
            (value(layer, name) * total / images).abs() for (_, layer, name), total in zip(stored, totals, strict=True)
        ]


class Taylor(Score):
    """(w g)^2, g the gradient of a batch's mean cross entropy, averaged over the batches of training images (Molchanov
    et al. 2019, arXiv 1906.10771, equation 8 of single weights)."""

    @torch.enable_grad()
    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        values, batches = [value(layer, name) for _, layer, name in stored], 0
        totals = [torch.zeros_like(one) for one in values]
        for _, gradients in _of_batches(model, stored, task):
            batches += 1
            for total, weight, gradient in zip(totals, values, gradients, strict=True):
                total += (weight * gradient).square()
        return [total / batches for total in totals]


class OptimalBrainDamage(Score):
    """h w^2 / 2, h the diagonal of the loss's curvature (LeCun et al. 1990, "Optimal brain damage", equation 5).

    The curvature is the Gauss-Newton matrix, which for cross entropy is Fisher's: its diagonal is the mean over images
    of sum_c p_c (d log p_c / dw)^2, c running over classes drawn from the network's own distribution p, whatever the
    images' true classes are. It is summed exactly up to 16 classes (256 images), else one class is drawn for each image
    (2048 images). One image at a time: memory is that of one gradient, whatever the layers are made of.
    """

    @torch.enable_grad()
    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        generator, images = task.generator(), 0
        diagonal = [torch.zeros_like(value(layer, name)) for _, layer, name in stored]
        for image in _one_by_one(task, _SAMPLED_IMAGES):
            logits, gradients_of = _differentiable(model, stored, image)
            log_p = logits[0].log_softmax(0)  # [classes]
            exact = len(log_p) <= _EXACT_CLASSES
            if exact and images == _EXACT_IMAGES:
                break
            for label, weight in _labels(log_p, None if exact else generator):
                for total, gradient in zip(diagonal, gradients_of(log_p[label]), strict=True):
                    total += weight * gradient.square()
            images += 1
        return [
            total / (2 * images) * value(layer, name).square()
            for (_, layer, name), total in zip(stored, diagonal, strict=True)
        ]


def _labels(log_p: Tensor, generator: torch.Generator | None) -> list[tuple[int, float]]:
    """Classes and their weights: all of them with their probabilities, or one that `generator` draws by them."""
    p = log_p.detach().exp().cpu()
    if generator is None:
        return list(enumerate(p.tolist()))
    return [(int(torch.multinomial(p, 1, generator=generator)), 1.0)]


def _of_batches(model: GraphModule, stored: Stored, task: Task) -> Iterator[tuple[int, list[Tensor]]]:
    """Images of a batch, and the gradients of its mean cross entropy.

    Raises:
        Refused: there are no images.
    """
    none = True
    for images, labels in task.examples(_EXAMPLES):
        none = False
        logits, gradients_of = _differentiable(model, stored, images)
        yield len(images), gradients_of(F.cross_entropy(logits, labels))
    if none:
        raise Refused("this score needs gradients, and there are no training images: take score=magnitude")


def _one_by_one(task: Task, count: int) -> Iterator[Tensor]:
    """Images [1, c, h, w].

    Raises:
        Refused: there are none.
    """
    none = True
    for images in task.calibration(count):
        none = False
        yield from images.split(1)
    if none:
        raise Refused("score=obd needs gradients, and there are no training images: take score=magnitude")


def _differentiable(
    model: GraphModule, stored: Stored, images: Tensor
) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
    """Logits [n, classes], and what gives the gradients of a scalar made of them, float32, one a stored tensor; zeros
    where it does not depend on one. For where gradients are on.

    Derivatives are of aliases of the stored tensors, behind their masks: no `grad` and no `requires_grad` is touched.
    """
    paths = {id(tensor): path for path, tensor in model.named_parameters()}
    originals = [original(layer, name) for _, layer, name in stored]
    aliases = {paths[id(one)]: one.detach().requires_grad_() for one in originals}
    logits = torch.func.functional_call(model, aliases, (images,))

    def gradients_of(scalar: Tensor) -> list[Tensor]:
        wanted = [aliases[paths[id(one)]] for one in originals]
        found = torch.autograd.grad(scalar, wanted, retain_graph=True, allow_unused=True)
        return [
            torch.zeros_like(one) if gradient is None else gradient.float()
            for one, gradient in zip(wanted, found, strict=True)
        ]

    return logits, gradients_of
