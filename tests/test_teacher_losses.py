"""What a student is told: losses by formula, and features that are found in the graph."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax, softmax
from torch import nn

from methods.base import Refused
from methods.distillation.features import common_maps, last_features, run_keeping, shapes
from methods.distillation.losses import decoupled_parts, logits_loss
from methods.distillation.objectives import objective
from methods.distillation.teaching import Teaching
from methods.graph import trace
from tests.contract import Spy, fingerprint, images, network, same
from tests.drawing import drawn

needs_torchdistill = pytest.mark.skipif(
    importlib.util.find_spec("torchdistill") is None, reason="torchdistill is not installed"
)
STUDENT, TEACHER = drawn(6, 10, seed=1).double() * 3, drawn(6, 10, seed=2).double() * 5
LABELS = torch.tensor([0, 9, 3, 3, 1, 7])


def teaching(loss="kd", alpha=0.7, temperature=3.0, beta=None, teacher="dense"):
    return Teaching(teacher, loss, alpha, temperature, beta)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_hintons_loss_is_a_sum_over_classes_and_a_mean_over_images(temperature):
    teacher, student = TEACHER.numpy() / temperature, STUDENT.numpy() / temperature
    expected = 0.0
    for image in range(len(teacher)):
        p = softmax(teacher[image])
        expected += temperature**2 * (p * (np.log(p) - log_softmax(student[image]))).sum() / len(teacher)
    found = logits_loss("kd", temperature)(STUDENT, TEACHER, LABELS)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    each = F.kl_div(F.log_softmax(STUDENT / temperature, 1), F.softmax(TEACHER / temperature, 1), reduction="none")
    per_element = temperature**2 * each.mean().item()
    assert found.item() == pytest.approx(10 * per_element), "a mean over elements is the known slip"


@needs_torchdistill
def test_the_objective_is_torchdistills_with_the_other_weight_called_alpha():
    from torchdistill.losses.mid_level import KDLoss

    logits, taught = STUDENT.float(), TEACHER.float()
    theirs = KDLoss("", "x", "", "x", temperature=3.0, alpha=0.3)({"": {"x": logits}}, {"": {"x": taught}}, LABELS)
    found = minimised(teaching(alpha=0.7), logits, taught)
    torch.testing.assert_close(found, theirs)


class Says(nn.Module):
    """A network whose logits are fixed."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x):
        return self.logits + 0 * x.flatten(1).sum(1, keepdim=True)


def minimised(settings, logits, taught):
    student, teacher = trace(Says(logits)), trace(Says(taught))
    aim = objective(settings, teacher, student, Spy().task())
    found, loss = aim(student, torch.zeros(len(logits), 1, 2, 2), LABELS)
    torch.testing.assert_close(found, logits)
    return loss


@pytest.mark.parametrize("loss", ["kd", "dkd", pytest.param("dist", marks=needs_torchdistill)])
def test_alpha_weighs_the_teacher_against_the_labels(loss):
    logits, taught = STUDENT.float(), TEACHER.float()
    only_labels, only_teacher = (minimised(teaching(loss, alpha), logits, taught) for alpha in (0.0, 1.0))
    torch.testing.assert_close(only_labels, F.cross_entropy(logits, LABELS))
    weight = teaching(loss).weight
    torch.testing.assert_close(only_teacher, weight * logits_loss(loss, 3.0)(logits, taught, LABELS))
    mixed = minimised(teaching(loss, 0.25), logits, taught)
    torch.testing.assert_close(mixed, 0.25 * only_teacher + 0.75 * only_labels)


@pytest.mark.parametrize("loss", ["kd", "dkd", pytest.param("dist", marks=needs_torchdistill)])
def test_a_teacher_that_says_the_same_costs_nothing_and_any_other_something(loss):
    found = logits_loss(loss, 2.0)
    assert found(TEACHER, TEACHER, LABELS).item() == pytest.approx(0, abs=1e-6)
    assert found(STUDENT, TEACHER, LABELS).item() > 1e-3


def test_decoupled_parts_add_up_to_the_divergence():
    """Zhao et al. 2022, equation 6: KL = TCKD + (1 - p_teacher(label)) NCKD."""
    target, others = decoupled_parts(STUDENT, TEACHER, LABELS)
    p = F.softmax(TEACHER, 1)[torch.arange(6), LABELS]
    whole = F.kl_div(F.log_softmax(STUDENT, 1), F.log_softmax(TEACHER, 1), reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(target + (1 - p) * others, whole)


def test_decoupled_parts_by_the_definition():
    target, others = decoupled_parts(STUDENT, TEACHER, LABELS)
    for image, label in enumerate(LABELS.tolist()):
        student, teacher = softmax(STUDENT[image].numpy()), softmax(TEACHER[image].numpy())
        b_s, b_t = (np.array([one[label], 1 - one[label]]) for one in (student, teacher))
        assert target[image].item() == pytest.approx((b_t * np.log(b_t / b_s)).sum())
        rest_s, rest_t = (np.delete(one, label) / np.delete(one, label).sum() for one in (student, teacher))
        assert others[image].item() == pytest.approx((rest_t * np.log(rest_t / rest_s)).sum())


# Features


class Stepped(nn.Module):
    """Maps of 8x8, 4x4 and 2x2, an in-place ReLU and a sum at the end of blocks."""

    def __init__(self, width):
        super().__init__()
        self.one = nn.Conv2d(2, width, 3, padding=1)
        self.two = nn.Conv2d(width, width + 1, 3, stride=2, padding=1)
        self.three = nn.Conv2d(width + 1, width + 1, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4 * (width + 1), 10)

    def forward(self, x):
        x = self.two(F.relu(self.one(x)))
        x = self.act(x + self.three(x))
        return self.head(self.pool(x).flatten(1))


IMAGES = drawn(5, 2, 8, 8, seed=3)


def test_maps_are_taken_at_the_end_of_each_size():
    model = trace(Stepped(3))
    found = shapes(model, IMAGES)
    assert list(dict.fromkeys(found)) == list(found)
    pairs = common_maps(found, found)
    assert pairs == [("relu", "relu"), ("act", "act"), ("pool", "pool")]
    logits, kept = run_keeping(model, IMAGES, {"relu", "act"})
    torch.testing.assert_close(logits, model(IMAGES))
    x = F.relu(model.one(IMAGES))
    torch.testing.assert_close(kept["relu"], x)
    torch.testing.assert_close(kept["act"], F.relu(model.two(x) + model.three(model.two(x))))


def test_only_sizes_that_both_have_are_compared():
    small = trace(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(12, 10)))
    pairs = common_maps(shapes(small, IMAGES), shapes(trace(Stepped(3)), IMAGES))
    assert pairs == [("_0", "relu"), ("_1", "pool")]


def test_last_features_are_what_the_head_reads():
    model = trace(Stepped(3))
    assert last_features(shapes(model, IMAGES)) == "flatten"
    whole = trace(nn.Sequential(nn.Conv2d(2, 10, 8), nn.Flatten()))
    assert last_features(shapes(whole, IMAGES)) is None
    with pytest.raises(Refused, match="nothing before them"):
        objective(teaching("rkd"), model, whole, task_for(IMAGES))


def test_looking_at_shapes_leaves_a_network_as_it_was():
    model = network()
    model.train()
    model.norm.eval()
    before = fingerprint(model)
    assert shapes(model, images())
    assert all(same(before[part], fingerprint(model)[part]) for part in before)


FEATURE_LOSSES = [
    pytest.param("at", marks=needs_torchdistill),
    "fitnet",
    pytest.param("rkd", marks=needs_torchdistill),
]


def task_for(pictures):
    return dataclasses.replace(Spy().task(), calibration=lambda count: iter([pictures[:count]]))


@pytest.mark.parametrize("loss", FEATURE_LOSSES)
def test_losses_of_features_reach_below_the_head_and_add_to_hintons(loss):
    student, teacher = trace(Stepped(3)), trace(Stepped(5))
    aims = {}
    for beta in (0.0, 2.0):
        aim = objective(teaching(loss, beta=beta), teacher, student.train(), task_for(IMAGES))
        logits, aims[beta] = aim(student, IMAGES, LABELS[:5])
        torch.testing.assert_close(logits, student(IMAGES))
    plain = objective(teaching(), teacher, student, task_for(IMAGES))(student, IMAGES, LABELS[:5])[1]
    torch.testing.assert_close(aims[0.0], plain)
    assert aims[2.0] > aims[0.0]
    student.zero_grad()
    (aims[2.0] - aims[0.0]).backward()
    assert student.two.weight.grad.abs().max() > 0
    assert student.head.weight.grad is None or student.head.weight.grad.abs().max() < 1e-6
    assert all(one.grad is None for one in teacher.parameters())


@pytest.mark.parametrize("loss", ["kd", "dkd", pytest.param("dist", marks=needs_torchdistill), *FEATURE_LOSSES])
def test_losses_are_computed_in_full_precision_whatever_training_computes_in(loss):
    student, teacher = trace(Stepped(3)), trace(Stepped(5))
    aim = objective(teaching(loss), teacher, student, task_for(IMAGES))
    exact = aim(student, IMAGES, LABELS[:5])[1]
    with torch.autocast("cpu", torch.bfloat16):
        logits, loss_there = aim(student, IMAGES, LABELS[:5])
    assert (logits.dtype, loss_there.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(loss_there, exact, rtol=0.1, atol=0.1)
    loss_there.backward()
    assert student.two.weight.grad.isfinite().all()


@pytest.mark.parametrize("loss", [one for one in FEATURE_LOSSES if one != "fitnet"])
def test_the_same_network_as_teacher_has_nothing_to_add(loss):
    model = trace(Stepped(3))
    aims = [objective(teaching(loss, beta=beta), model, model, task_for(IMAGES))(model, IMAGES, LABELS[:5])[1]
            for beta in (0.0, 100.0)]  # fmt: skip
    torch.testing.assert_close(*aims, atol=1e-4, rtol=1e-4)


def test_hints_by_the_formula_with_regressors_drawn_from_the_seed():
    student, teacher = trace(Stepped(3)), trace(Stepped(5))
    torch.manual_seed(1)
    aim = objective(teaching("fitnet", alpha=0.0, beta=1.0), teacher, student, task_for(IMAGES))
    torch.manual_seed(2)
    again = objective(teaching("fitnet", alpha=0.0, beta=1.0), teacher, student, task_for(IMAGES))
    assert same(aim.beside.state_dict(), again.beside.state_dict())
    assert [tuple(one.weight.shape) for one in aim.beside] == [(5, 3, 1, 1), (6, 4, 1, 1), (6, 4, 1, 1)]
    logits, loss = aim(student, IMAGES, LABELS[:5])
    own, other = (run_keeping(one, IMAGES, {"relu", "act", "pool"})[1] for one in (student, teacher))
    missed = [(regressor(own[name]) - other[name]).square().mean()
              for regressor, name in zip(aim.beside, ("relu", "act", "pool"), strict=True)]  # fmt: skip
    torch.testing.assert_close(loss - F.cross_entropy(logits, LABELS[:5]), sum(missed) / 3)


def test_networks_without_a_common_size_are_refused():
    flat = trace(nn.Sequential(nn.Flatten(), nn.Linear(128, 10)))
    for student, teacher in ((flat, trace(Stepped(3))), (trace(Stepped(3)), flat)):
        with pytest.raises(Refused, match=r"none in common: take a loss of logits \(kd, dkd, dist\) or rkd"):
            objective(teaching("fitnet"), teacher, student, task_for(IMAGES))
