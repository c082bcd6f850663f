"""Scores by the loss against naive references, and what every score leaves alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Pipeline, Refused, Task
from methods.graph import trace
from methods.layers import Mask, constrain, original, weights
from methods.lowrank import LowRank
from methods.pruning import Prune, gradients
from methods.pruning.rates import normalised
from methods.pruning.scores import SCORES, TRAINING, Score, value
from methods.spectral import DCT
from tests.contract import Spy, fingerprint, global_state, network, same
from tests.drawing import drawn

SHAPE = (2, 6, 5)


class Net(nn.Module):
    """A batch norm, a group, a layer that is called twice; `classes` outputs."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.grouped, self.head = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Linear(4, classes)

    def forward(self, x):
        x = self.grouped(self.norm(self.conv(x)).relu())
        return self.head(self.grouped(x).mean((2, 3)))


def graph(classes: int = 4):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = trace(Net(classes))
    model.norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    return model


def task(count: int, batch: int = 8, seed: int = 3) -> Task:
    images, labels = drawn(count, *SHAPE, seed=2), torch.arange(count) % 4

    def examples(most):
        yield from zip(images[:most].split(batch), labels[:most].split(batch), strict=True)

    def calibration(most):
        return (one for one, _ in examples(most))

    return Task(lambda model, **_: model.eval(), calibration, seed=seed, examples=examples)


def scores_of(name, model, job):
    return SCORES[name](model, list(weights(model)), job)


def naive_gradients(model, loss):
    """Of the tensors that the layers compute with."""
    return torch.autograd.grad(loss, [getattr(layer, name) for _, layer, name in weights(model)])


def test_snip_is_weight_times_gradient_of_the_mean_loss():
    model, job = graph(), task(20)
    images, labels = drawn(20, *SHAPE, seed=2), torch.arange(20) % 4
    expected = naive_gradients(model, F.cross_entropy(model(images), labels))
    for score, gradient, (_, layer, name) in zip(scores_of("snip", model, job), expected, weights(model), strict=True):
        torch.testing.assert_close(score, (gradient * getattr(layer, name)).detach().abs(), rtol=1e-4, atol=1e-7)


def test_taylor_averages_squares_over_batches():
    model, job = graph(), task(20)
    batches = [naive_gradients(model, F.cross_entropy(model(x), y)) for x, y in job.examples(20)]
    assert len(batches) == 3
    for index, (score, (_, layer, name)) in enumerate(
        zip(scores_of("taylor", model, job), weights(model), strict=True)
    ):
        squares = [(one[index] * getattr(layer, name)).detach().square() for one in batches]
        torch.testing.assert_close(score, sum(squares) / 3, rtol=1e-4, atol=1e-9)


def gauss_newton_diagonal(model, images):
    """The diagonal of J^T (diag p - p p^T) J, averaged over images, by whole Jacobians."""
    parameters = {f"{path}.{name}": original(layer, name).detach() for path, layer, name in weights(model)}

    def logits(values, image):
        return torch.func.functional_call(model, values, (image,))[0]

    totals = {name: torch.zeros_like(one) for name, one in parameters.items()}
    for image in images.split(1):
        jacobian = torch.func.jacrev(logits)(parameters, image)
        p = logits(parameters, image).softmax(0).detach()
        curvature = p.diag() - p[:, None] * p  # [classes, classes]
        for name, one in jacobian.items():
            flat = one.flatten(1)  # [classes, entries]
            totals[name] += (flat * (curvature @ flat)).sum(0).view_as(totals[name])
    return [one / len(images) for one in totals.values()]


def test_curvature_is_the_exact_diagonal_of_the_gauss_newton_matrix():
    model, job = graph(), task(12)
    expected = gauss_newton_diagonal(model, drawn(12, *SHAPE, seed=2))
    for score, diagonal, (_, layer, name) in zip(scores_of("obd", model, job), expected, weights(model), strict=True):
        torch.testing.assert_close(score, diagonal * value(layer, name).square() / 2, rtol=1e-4, atol=1e-9)


def test_with_many_classes_curvature_is_sampled_and_comes_near(monkeypatch):
    model = graph(20)
    exact = torch.cat([one.flatten() for one in gauss_newton_diagonal(model, drawn(8, *SHAPE, seed=2))])
    monkeypatch.setattr(gradients, "_SAMPLED_IMAGES", 1600)
    images = drawn(8, *SHAPE, seed=2).repeat(200, 1, 1, 1)
    job = Task(lambda model, **_: model, lambda most: iter(images[:most].split(400)), seed=3)
    squares = torch.cat([value(layer, name).flatten() ** 2 for _, layer, name in weights(model)])
    sampled = torch.cat([one.flatten() for one in scores_of("obd", model, job)])
    assert (sampled - exact * squares / 2).norm() < 0.1 * (exact * squares / 2).norm()
    again = torch.cat([one.flatten() for one in scores_of("obd", model, job)])
    assert torch.equal(sampled, again)


@pytest.mark.parametrize("name", ["obd", "snip", "taylor"])
def test_scores_by_the_loss_see_the_mask_and_not_what_is_under_it(name):
    model, other = graph(), graph()
    keep = torch.rand(model.head.weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    for one in (model, other):
        constrain(one.head, "weight", Mask.of(keep))
    with torch.no_grad():
        original(other.head, "weight").masked_fill_(~keep, 50.0)
    first, second = (scores_of(name, one, task(10)) for one in (model, other))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert (first[-1][~keep] == 0).all()
    assert (first[-1][keep] > 0).all()


@pytest.mark.parametrize("name", ["obd", "snip", "taylor"])
@pytest.mark.parametrize("first", [DCT(keep=0.5, calibration=0), LowRank()], ids=["dct", "lowrank"])
def test_scores_by_the_loss_rank_what_structured_layers_store(name, first):
    model = first.compress(network(), Spy().task())
    stored = list(weights(model))
    scores = SCORES[name](model, stored, Spy().task())
    assert [score.shape for score in scores] == [original(layer, tensor).shape for _, layer, tensor in stored]
    assert all(score.isfinite().all() and score.max() > 0 for score in scores)
    Pipeline((first, Prune(score=name))).compress(network(), Spy().task())


@pytest.mark.parametrize("name", ["obd", "snip", "taylor"])
def test_without_images_there_is_a_reason(name):
    nothing = Task(lambda model, **_: model, lambda most: iter(()), examples=lambda most: iter(()))
    with pytest.raises(Refused, match="no training images"):
        scores_of(name, graph(), nothing)


# What every score leaves alone.


def traces_left(score: Score) -> list[str]:
    """What a score leaves behind: training mode, values, gradients and generators have to be as they were, whatever is
    on, and scores the same again, without derivatives."""
    traces = []
    for frozen in (False, True):
        model, job = network(), Spy().task()
        model.requires_grad_(not frozen)
        stored = list(weights(model))
        before = fingerprint(model), global_state()
        with torch.inference_mode(False), torch.set_grad_enabled(not frozen):
            first = score(model, stored, job)
        after = fingerprint(model), global_state()
        traces += [what for part, what in enumerate(("network", "process")) if not same(before[part], after[part])]
        torch.rand(1)
        again = score(model, stored, Spy().task())
        for one, other, (path, layer, name) in zip(first, again, stored, strict=True):
            expected = (getattr(layer, name).shape, torch.float32, False)
            if not torch.equal(one, other) or (one.shape, one.dtype, one.requires_grad) != expected:
                traces.append(f"{path}.{name}")
    return traces


@pytest.mark.parametrize("name", [name for name in SCORES if name not in TRAINING])
def test_every_score_that_does_not_train_leaves_the_network_alone(name):
    assert traces_left(SCORES[name]) == []


class Leaking(Score):
    def __call__(self, model, stored, task):
        images, labels = next(task.examples(8))
        with torch.enable_grad():
            F.cross_entropy(model.requires_grad_()(images), labels).backward()
        return [getattr(layer, name).grad.abs() for _, layer, name in stored]


class Waking(Score):
    def __call__(self, model, stored, task):
        model.train()(next(task.calibration(8)))
        return [value(layer, name) for _, layer, name in stored]


class Gambling(Score):
    def __call__(self, model, stored, task):
        return [torch.rand_like(value(layer, name)) for _, layer, name in stored]


class Attached(Score):
    def __call__(self, model, stored, task):
        return [getattr(layer, name).abs() for _, layer, name in stored]


@pytest.mark.parametrize("offender", [Leaking, Waking, Gambling, Attached])
def test_offenders_are_caught(offender):
    assert traces_left(offender()) != []


def test_normalised_scores_have_unit_norm_and_survive_a_tensor_of_zeros():
    one, zero = normalised([torch.tensor([[3.0, 4.0]]), torch.zeros(3)])
    torch.testing.assert_close(one, torch.tensor([[0.6, 0.8]]))
    assert torch.equal(zero, torch.zeros(3))
