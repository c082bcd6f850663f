"""How far a student's logits are from a teacher's. Logits [n, classes] in float32; every loss is a mean over the batch.

Source of `softened`: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2; of `decoupled`: Zhao et al. 2022,
arXiv 2203.08679, equation 7; of `relations`: Huang et al. 2022, arXiv 2205.10536, equations 9 to 11.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LogitsLoss = Callable[[Tensor, Tensor, Tensor], Tensor]  # (student's, teacher's, labels [n]) -> a number
_NON_TARGET = 8.0  # weight of what is not the label, section 4.1 of the paper
_HIDDEN = 1000.0  # what is taken from a logit that is to have no share


def logits_loss(name: str, temperature: float) -> LogitsLoss:
    """The loss of that name, times temperature^2, so that its gradients keep their size."""
    if name == "kd":
        return functools.partial(softened, temperature=temperature)
    if name == "dkd":
        return functools.partial(decoupled, temperature=temperature)
    assert name == "dist", name
    return relations(temperature)


def softened(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of the softmaxes at temperature T: a sum over classes, a mean over images."""
    return temperature**2 * _divergence(student / temperature, teacher / temperature).mean()


def decoupled(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """T^2 (TCKD + 8 NCKD): label against the rest, and the rest among themselves whatever the label's probability.

    The KL divergence is TCKD + (1 - the teacher's probability of the label) NCKD.
    """
    target, others = decoupled_parts(student / temperature, teacher / temperature, labels)
    return temperature**2 * (target + _NON_TARGET * others).mean()


def decoupled_parts(student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of each image, [n] and [n]."""
    is_label = F.one_hot(labels, student.shape[1]).bool()
    one, two = (torch.stack([_pick(logits, is_label), _rest(logits, is_label)], 1) for logits in (student, teacher))
    hidden = is_label * _HIDDEN
    return _divergence(one, two), _divergence(student - hidden, teacher - hidden)


def _pick(logits: Tensor, is_label: Tensor) -> Tensor:
    return logits[is_label]


def _rest(logits: Tensor, is_label: Tensor) -> Tensor:
    """The logit [n] of all classes but the label taken as one."""
    return logits.masked_fill(is_label, -torch.inf).logsumexp(1)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of each row's softmax, [n]."""
    return F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="none", log_target=True).sum(1)


def relations(temperature: float) -> LogitsLoss:
    """DIST: how ill student and teacher correlate over the classes of each image and over the images of each class."""
    from torchdistill.losses.mid_level import DISTLoss

    module = DISTLoss("", "logits", "", "logits", tau=temperature)

    def loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        found: Tensor = module({"": {"logits": student}}, {"": {"logits": teacher}})
        return found

    return loss
