"""Training: the rate's shape, learning, exact resumption, and what happens when things break."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from baselines.data import load
from baselines.errors import UsageError
from baselines.nets import build
from baselines.precision import uses_bf16
from baselines.training import Diverged, Recipe, default_recipe, evaluate, learning_rate, make_optimizer, train
from methods.graph import trace
from methods.layers import Mask, constrain
from tests.interruption import Killed, killed_after

RECIPE = Recipe(batch_size=16, lr=0.1, precision="fp32")


@pytest.fixture(scope="module")
def data():
    return load("fake:classes=4:size=8:count=100", data_dir=Path("nowhere"))


def network(dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)),
        )


def run(model, data, epochs=3, recipe=RECIPE, **more):
    return train(model, data, stage="dense", epochs=epochs, lr=recipe.lr, recipe=recipe, seed=0, **more)


def same(one, two):
    return all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())


@given(st.integers(1, 300), st.floats(1e-4, 10), st.floats(0, 0.9))
def test_the_rate_rises_once_falls_once_and_stays_within_its_peak(steps, peak, warmup):
    rates = [learning_rate(step, steps, peak, warmup) for step in range(steps)]
    assert all(0 < rate <= peak * (1 + 1e-9) for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert abs(top - warmup * steps) <= 1
    assert learning_rate(steps, steps, peak, warmup) == pytest.approx(0, abs=1e-9 * peak)


def test_only_tensors_of_several_axes_decay_and_frozen_ones_are_left_out():
    model = network()
    model[6].bias.requires_grad_(False)
    decayed, kept = make_optimizer(model, RECIPE).param_groups
    assert {tensor.ndim for tensor in decayed["params"]} == {2, 4}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (RECIPE.weight_decay, 0)
    assert len(kept["params"]) == 3


def test_it_learns_and_logs_what_it_did(data):
    model, seen, batches = network(), [], []
    logs = run(model, data, 6, on_epoch=seen.append, on_batch=lambda *step: batches.append(step))
    assert logs == seen
    assert [log.epoch for log in logs] == list(range(1, 7))
    assert {log.samples for log in logs} == {data.count("train")}
    assert logs[-1].train_loss < logs[0].train_loss
    assert logs[-1].validation_accuracy == evaluate(model, data, "validation")
    assert evaluate(model, data, "test") > 0.8
    steps = data.steps(16)
    assert batches == [(epoch, step, steps) for epoch in range(1, 7) for step in range(1, steps + 1)]
    assert not model.training


def test_evaluate_is_correct_over_seen(data):
    model = network().eval()
    images, labels = next(data.batches("test", 1000, device="cpu"))
    right = sum(int(model(image[None]).argmax()) == int(label) for image, label in zip(images, labels, strict=True))
    assert evaluate(model, data, "test", batch=7) == right / len(labels)


def test_the_global_generator_neither_matters_nor_moves(data):
    one, two = network(dropout=0.5), network(dropout=0.5)
    torch.manual_seed(1)
    run(one, data)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    run(two, data)
    assert same(one, two)
    assert torch.equal(torch.get_rng_state(), before)
    three = network(dropout=0.5)
    train(three, data, stage="dense", epochs=3, lr=0.1, recipe=RECIPE, seed=1)
    assert not same(one, three)


def test_adam_moves_entries_by_its_rate_whatever_their_gradients_are(data):
    """SGD moves them in proportion to gradients, which are far apart here."""
    spread = []
    for adam in (True, False):
        model, before = network(), network()
        recipe = dataclasses.replace(RECIPE, batch_size=100, warmup=0.0, weight_decay=0.0)
        train(model, data, stage="a", epochs=1, lr=0.01, recipe=recipe, seed=0, adam=adam)
        pairs = zip(model.parameters(), before.parameters(), strict=True)
        moved = torch.cat([(one - other).detach().abs().flatten() for one, other in pairs])
        moved = moved[moved > 1e-6]  # of dead units
        spread.append(float(moved.quantile(0.9) / moved.quantile(0.1)))
        assert not adam or float(moved.median()) == pytest.approx(0.01, rel=0.01)
    assert spread[0] < 1.1
    assert spread[1] > 3


def test_adam_takes_the_same_groups_as_sgd():
    groups = [
        [(len(one["params"]), one["weight_decay"]) for one in make_optimizer(network(), RECIPE, adam=adam).param_groups]
        for adam in (True, False)
    ]
    assert groups[0] == groups[1]


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("after_batches", [1, 5, 6, 7, 13, 17])
def test_a_run_killed_anywhere_and_resumed_equals_one_left_alone(data, tmp_path, after_batches, adam):
    alone, snapshot = network(dropout=0.3), tmp_path / "deep" / "run.pt"
    expected = run(alone, data, adam=adam)
    with pytest.raises(Killed):
        run(network(dropout=0.3), data, snapshot=snapshot, on_batch=killed_after(after_batches), adam=adam)
    resumed, told = network(dropout=0.3), []
    logs = run(resumed, data, snapshot=snapshot, on_epoch=told.append, adam=adam)
    assert same(alone, resumed)
    left_out = {"seconds": 0.0}
    assert [dataclasses.replace(log, **left_out) for log in logs] == [
        dataclasses.replace(log, **left_out) for log in expected
    ]
    assert len(told) == 3 - (after_batches - 1) // data.steps(16), "epochs that were whole are not trained again"
    finished = network(dropout=0.3)
    assert len(run(finished, data, snapshot=snapshot, adam=adam, on_batch=lambda *_: pytest.fail("trained again"))) == 3
    assert same(alone, finished)


@pytest.mark.parametrize("damage", [lambda raw: b"", lambda raw: raw[: len(raw) // 2], lambda raw: b"x" * 100,
                                    lambda raw: raw[:300] + b"\xff" * 64 + raw[364:]])  # fmt: skip
def test_a_damaged_snapshot_is_told_and_passed_over(data, tmp_path, damage):
    snapshot, notes = tmp_path / "run.pt", []
    run(network(), data, epochs=1, snapshot=snapshot)
    snapshot.write_bytes(damage(snapshot.read_bytes()))
    model, alone = network(), network()
    run(model, data, epochs=1, snapshot=snapshot, on_note=notes.append)
    run(alone, data, epochs=1)
    assert len(notes) == 1
    assert "starting over" in notes[0]
    assert same(model, alone)


def test_a_snapshot_of_another_training_is_passed_over(data, tmp_path):
    snapshot, notes = tmp_path / "run.pt", []
    run(network(), data, snapshot=snapshot)
    run(network(), data, epochs=2, snapshot=snapshot, on_note=notes.append)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    run(other, data, epochs=2, snapshot=snapshot, on_note=notes.append)
    assert ["another training" in note for note in notes] == [True, False]


def test_a_loss_that_is_no_number_ends_training_with_epoch_step_and_rate(data):
    with pytest.raises(Diverged, match=r"epoch 1, step \d+ of 6, at learning rate .*--lr"):
        run(network(), data, recipe=dataclasses.replace(RECIPE, lr=1e30, clip_norm=0))


def test_masked_weights_of_a_traced_network_stay_zero_and_the_rest_moves(data):
    model = trace(network())
    layer = model.get_submodule("0")
    keep = torch.arange(72).reshape(layer.weight.shape) % 3 > 0
    constrain(layer, "weight", Mask.of(keep))
    before = layer.weight.detach().clone()
    run(model, data)
    assert (layer.weight[~keep] == 0).all()
    assert (layer.weight[keep] != before[keep]).all()


def test_no_epochs_leave_the_network_alone(data):
    model, fresh = network(), network()
    assert run(model, data, epochs=0) == []
    assert same(model, fresh)


def test_an_odd_image_out_does_not_reach_batch_norm_alone():
    data = load("fake:classes=2:size=4:count=10", data_dir=Path("nowhere"))
    assert data.count("train") % 2 == 0
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.BatchNorm1d(2))
    for batch_size in (2, 3, data.count("train") - 1):
        run(model, data, epochs=1, recipe=dataclasses.replace(RECIPE, batch_size=batch_size))


def test_bf16_trains_too(data):
    model = network()
    run(model, data, 6, recipe=dataclasses.replace(RECIPE, precision="bf16"))
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert evaluate(model, data, "test") > 0.8
    assert uses_bf16("bf16", "cpu")
    assert not uses_bf16("fp32", "cpu")


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", -1), ("batch_size", 1), ("lr", 0.0), ("lr", math.nan), ("finetune_lr", math.inf), ("momentum", 1.0),
     ("warmup", -0.1), ("label_smoothing", 1.0), ("weight_decay", math.nan), ("precision", "int8")],
)  # fmt: skip
def test_a_recipe_out_of_range_is_refused_by_name_and_value(field, value):
    with pytest.raises(UsageError, match=rf"{field}.*{value}"):
        Recipe(**{field: value})


@pytest.mark.parametrize("net", ["resnet18", "resnet8", "lenet_caffe", "timm:resnet10t", "my/net.py:make", "vit_b_16"])
@pytest.mark.parametrize("dataset", ["digits", "mnist", "folder", "imagenet", "fake:classes=3"])
def test_there_is_a_recipe_for_every_pair(net, dataset):
    assert default_recipe(net, dataset).epochs >= default_recipe(net, dataset).finetune_epochs > 0


@pytest.mark.parametrize("net", ["lenet300", "lenet_caffe"])
def test_the_default_recipe_teaches_a_small_network_the_digits(net):
    digits = load("digits", data_dir=Path("nowhere"))
    model = build(net, classes=10, input_shape=digits.input_shape, seed=0)
    recipe = default_recipe(net, "digits")
    train(model, digits, stage="dense", epochs=recipe.epochs, lr=recipe.lr, recipe=recipe, seed=0)
    assert evaluate(model, digits, "test") > 0.95
