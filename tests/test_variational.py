"""Laws of sparse variational dropout."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

import bench.trainer
from bench.command import parse_command
from bench.estimate import Meter, Narrator, plan_seconds
from bench.inputs import make_job
from bench.stages import stages
from methods import METHODS
from methods.base import Pipeline, Refused, Task
from methods.graph import trace
from methods.layers import Mask, constraints, weights
from methods.lowrank import LowRank
from methods.pruning import Prune
from methods.pruning.variational import NoisyLayer, Variational, divergence, put_noise
from methods.spectral import DCT
from tests.drawing import drawn, filled
from tests.quantization_example import KINDS, Plain, Residual, images, network

LAYERS = [
    lambda: nn.Linear(5, 3), lambda: nn.Conv2d(4, 6, 3, padding=1), lambda: nn.Conv2d(4, 6, 3, stride=2, groups=2),
    lambda: nn.Conv2d(4, 4, (3, 2), padding=1, dilation=2, groups=4, bias=False),
    lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1),
]  # fmt: skip


def inputs(layer, count):
    shape = {nn.Linear: (5,), nn.Conv1d: (4, 9), nn.Conv2d: (4, 7, 6)}[type(layer)]
    return drawn(count, *shape, seed=4)


def train(model, *, lr_scale=1.0, full=False, decay=None, at_step=None, penalty=None, steps=12, **_):
    """Stands for the harness's training."""
    at_step, x, y = at_step or (lambda done: None), images(16, seed=3), torch.arange(16) % 5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02 * lr_scale)
    for step in range(steps):
        model.train()
        at_step(step / steps)
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        (loss + penalty(step / steps) if penalty else loss).backward()
        optimizer.step()
    return model.eval()


def variational(**fields):
    return Prune(score="variational", **fields)


def task(finetune=train, seed=0):
    return Task(finetune, lambda count: iter(images(48).split(16)), seed=seed)


class Quiet:
    """Says nothing of how far a run is."""

    def say(self, text):
        pass

    step = case = lambda self, *_: None


# The price


def test_the_price_is_the_divergence_by_sampling():
    """-KL = log(alpha) / 2 - E log|e| + C with e normal of mean 1 and variance alpha (equations 12 and 13)."""
    log_alpha = torch.linspace(-6, 7, 14, dtype=torch.float64)
    noise = drawn(400_000, seed=2).double()
    sampled = torch.stack(
        [(1 + (0.5 * one).exp() * noise).abs().log().mean() - 0.5 * one for one in log_alpha]
    )  # KL up to C
    apart = (divergence(log_alpha) - divergence(log_alpha[-1])) - (sampled - sampled[-1])
    assert apart.abs().max() < 0.02


def test_the_price_falls_from_infinity_to_zero():
    values = divergence(torch.tensor([-100.0, -10.0, 0.0, 3.0, 8.0, 100.0]))
    assert (values.diff() < 0).all()
    assert values[0] > 40
    assert values[-1] == pytest.approx(0, abs=1e-6)


# Noise of outputs


@pytest.mark.parametrize("make", LAYERS)
def test_outputs_have_the_mean_and_variance_that_noisy_weights_give(make):
    layer = filled(make())
    noisy = NoisyLayer(copy.deepcopy(layer), torch.Generator().manual_seed(0)).train()
    with torch.no_grad():
        noisy.log_variance.copy_(drawn(*layer.weight.shape, seed=9) - 5)
        deviation = (0.5 * noisy.log_alpha()).exp() * layer.weight.abs()
        x, count = inputs(layer, 2), 6000
        ours = torch.stack([noisy(x) for _ in range(count)])
        generator, weight, sampled = torch.Generator().manual_seed(1), layer.weight.clone(), []
        for _ in range(count):
            layer.weight.copy_(weight + deviation * torch.randn(weight.shape, generator=generator))
            sampled.append(layer(x))
        theirs = torch.stack(sampled)
    error = 6 * theirs.std(0).max() / math.sqrt(count)
    assert (ours.mean(0) - theirs.mean(0)).abs().max() < error
    assert ((ours.std(0) - theirs.std(0)).abs() / theirs.std(0).clamp_min(1e-3)).max() < 0.08


@pytest.mark.parametrize("make", LAYERS)
def test_without_training_there_is_no_noise(make):
    layer = filled(make())
    noisy, x = NoisyLayer(copy.deepcopy(layer), torch.Generator()), inputs(layer, 2)
    assert torch.allclose(noisy.eval()(x), layer(x), atol=1e-6)
    assert not torch.allclose(noisy.train()(x), layer(x), atol=1e-6)


# The method


@pytest.mark.parametrize("kind", KINDS)
def test_plain_layers_come_back_with_a_mask_of_the_sparsity_asked_for(kind):
    before = network(kind)
    model = variational(sparsity=0.8).compress(before, task())
    assert not [one for one in model.modules() if isinstance(one, NoisyLayer)]
    assert {path for path, _ in model.named_modules() if "parametrizations" not in path} == {
        path for path, _ in before.named_modules()
    }
    tensors = [getattr(layer, name) for _, layer, name in weights(model)]
    total = sum(one.numel() for one in tensors)
    assert sum(int((one == 0).sum()) for one in tensors) == round(0.8 * total)
    assert all(isinstance(constraints(layer, name)[0], Mask) for _, layer, name in weights(model))


def test_those_of_most_noise_for_their_size_go_whatever_their_size():
    model = trace(nn.Sequential(nn.Linear(6, 1)))
    path = next(path for path, _, _ in weights(model))
    with torch.no_grad():
        model.get_submodule(path).weight.copy_(torch.tensor([[0.01, 0.5, 0.6, 0.7, 0.8, 0.9]]))

    def noisy_training(model, *, full=False, **_):
        if full:
            layer = model.get_submodule(path)
            with torch.no_grad():
                layer.log_variance.copy_(torch.tensor([[-20.0, 3, 4, 5, -9, -9]]))
        return model.eval()

    job = Task(noisy_training, lambda count: iter(drawn(48, 6).split(16)))
    found = variational().compress(model, job)
    assert (found.get_submodule(path).weight != 0).tolist() == [[True, False, False, False, True, True]]
    found = variational(sparsity=1 / 6).compress(model, job)
    assert (found.get_submodule(path).weight != 0).tolist() == [[True, True, True, False, True, True]]


def test_the_price_falls_with_more_noise_and_with_smaller_weights():
    noisy = NoisyLayer(filled(nn.Linear(5, 3)), torch.Generator())
    noisy.price().backward()
    assert (noisy.log_variance.grad < 0).all()
    assert (noisy.layer.weight.grad * noisy.layer.weight > 0).all()


def test_noise_is_bounded_and_other_noise_is_left():
    noisy = NoisyLayer(filled(nn.Linear(5, 3)), torch.Generator())
    with torch.no_grad():
        noisy.log_variance[0, 0] = 3.0
    before = noisy.log_variance.detach().clone()
    noisy.bound()
    assert noisy.log_variance[0, 0] == 0
    assert torch.equal(noisy.log_variance.flatten()[1:], before.flatten()[1:])


def test_the_same_seed_gives_the_same_result_whatever_the_global_generator_holds():
    states = []
    for number in (1, 2):
        torch.manual_seed(number)
        states.append(variational(sparsity=0.5).compress(network(Residual), task()).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    other = variational(sparsity=0.5).compress(network(Residual), task(seed=1)).state_dict()
    assert any(not torch.equal(states[0][name], other[name]) for name in other)


def test_noise_follows_from_the_seed_and_the_share_of_steps_alone():
    """So that training that was cut off goes on as if it had not been."""
    outputs = []

    def watched(model, *, at_step=None, full=False, **_):
        if full:
            model.train()
            for done in (0.25, 0.5, 0.25):
                at_step(done)
                outputs.append(model(images(4)).detach())
        return model.eval()

    variational().compress(network(Residual), task(watched))
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])


def test_what_was_pruned_before_stays_pruned():
    pruned = Prune(sparsity=0.6).compress(network(Plain), task(lambda model, **_: model.eval()))
    model = variational(sparsity=0.8).compress(pruned, task())
    for path, layer, name in weights(model):
        keep = constraints(pruned.get_submodule(path), name)[0].keep
        assert not getattr(layer, name)[~keep].any()
        assert len(constraints(layer, name)) == 1


def test_noise_keeps_to_the_layers_that_are_pruned():
    model = network(Plain)
    assert set(put_noise(model, list(weights(model, "conv")), torch.Generator())) == {"first", "twice"}


def test_spectral_layers_are_refused_and_low_rank_ones_are_not():
    spectral = DCT(layers="linear").compress(network(Plain), task())
    with pytest.raises(Refused, match="is a SpectralLinear, and what noise"):
        variational().compress(spectral, task())
    assert Pipeline((LowRank(), variational())).compress(network(Plain), task())(images(2)).isfinite().all()


def test_it_trains_as_long_as_the_dense_network_and_then_as_other_scores():
    asked = []

    def counted(model, *, full=False, **more):
        asked.append(full)
        return train(model, full=full, **more)

    variational(sparsity=0.5).compress(network(Plain), task(counted))
    assert asked == [True, False]
    assert variational().epochs(3, 6) == 9
    assert Prune().epochs(3, 6) == 3


def test_the_price_takes_the_place_of_weight_decay_and_adam_that_of_sgd():
    asked = []

    def watched(model, *, full=False, adam=None, decay=None, **_):
        if full:
            trained = {name for name, tensor in model.named_parameters() if tensor.ndim > 1}
            asked.append((adam, decay.keys() >= trained, set(decay.values())))
        else:
            asked.append((adam, decay))
        return model.eval()

    variational().compress(network(Plain), task(watched))
    (rate, priced, factors), plain = asked
    assert 0 < rate < 0.01
    assert priced
    assert factors == {0.0}
    assert plain == (None, None), "fine-tuning is that of any score"


class Kept:
    """Shares networks as the harness does: what is taken is another object than what was made."""

    def __init__(self):
        self.made = {}

    def __call__(self, key, make):
        if key not in self.made:
            made = make()
            self.made[key] = copy.deepcopy(made)
            return made
        return copy.deepcopy(self.made[key])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", [None, "weights", "scores"])
def test_rows_of_a_sweep_share_the_training_with_noise(kind, lost):
    asked, shared = [], Kept()

    def counted(model, *, full=False, **more):
        asked.append(full)
        with torch.random.fork_rng():
            torch.manual_seed(full)  # of dropout, as the harness does
            return train(model, full=full, **more)

    def row(sparsity, share):
        job = dataclasses.replace(task(counted), share=share)
        return variational(sparsity=sparsity).compress(network(kind), job).state_dict()

    row(0.5, shared)
    shared.made = {key: one for key, one in shared.made.items() if lost is None or not key.endswith(lost)}
    assert len(shared.made) == (2 if lost is None else 1)
    several = row(0.8, shared)
    assert asked == [True, False, False] if lost is None else [True, False, True, False]
    alone = row(0.8, Kept())
    assert all(torch.equal(tensor, several[name]) for name, tensor in alone.items())
    assert row(None, shared).keys() == alone.keys(), "without a sparsity it is the same training too"


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"schedule": "gradual"}, "trains the network, once"), ({"schedule": "iterative"}, "trains the network, once"),
     ({"rates": "variational"}, "trains the network, once")],
)  # fmt: skip
def test_what_would_train_again_and_again_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        Prune(**({"score": "variational"} | fields if "schedule" in fields else fields))


def test_without_a_sparsity_the_threshold_says_it_and_with_one_it_does_not():
    assert Variational().threshold == -3.0
    assert Prune(score="variational").target == 0
    assert Prune(score="variational", sparsity=0.3).target == 0.3
    assert Prune().target == 0.9


def test_the_price_is_the_papers_over_the_number_of_images_and_rises_to_it():
    prices = []

    def watched(model, *, penalty=None, full=False, **_):
        if full:
            layers = [one for one in model.modules() if isinstance(one, NoisyLayer)]
            whole = sum(float(one.price().detach()) for one in layers)
            prices.extend(float(penalty(done).detach()) / whole * 48 for done in (0.0, 0.15, 0.3, 1.0))
        return model.eval()

    variational().compress(network(Plain), task(watched))  # has 48 images
    assert prices == pytest.approx([0, 0.5, 1, 1], abs=1e-5)


def of_the_command(tmp_path, methods):
    arguments = ["--net", "lenet300", "--dataset", "digits", "--epochs", "5", "--methods", methods, "--no-controls"]
    job = make_job(parse_command([*arguments, "--out", str(tmp_path), "--cache", str(tmp_path)]), METHODS, print)
    narrator = Narrator(Quiet(), Meter(plan_seconds(job.plan, job.sizes, set(), set())))
    return job, narrator


def test_on_few_images_a_network_still_learns_them_and_nearly_all_weights_go(tmp_path):
    job, narrator = of_the_command(tmp_path, "prune:score=variational")
    (log,) = stages(job, job.plan.cases[1], narrator)[-1].steps
    assert log.accuracy_after > 0.8
    assert 0.9 < log.sparsity < 0.999


def test_a_sweep_of_the_command_trains_with_noise_once_and_every_row_counts_it(tmp_path, monkeypatch):
    job, narrator = of_the_command(tmp_path, "prune:sparsity=0.5/0.9:score=variational")
    trained, real = [], bench.trainer.train

    def counted(*given, adam=False, **more):
        trained.append(adam)
        return real(*given, adam=adam, **more)

    monkeypatch.setattr(bench.trainer, "train", counted)
    _, *rows = job.plan.cases
    found = [stages(job, case, narrator)[-1] for case in rows]
    assert trained.count(True) == 1
    assert [len(one.training) for one in found] == [5 + 8, 5 + 8]
    assert [round(one.steps[-1].sparsity, 3) for one in found] == [0.5, 0.9]
