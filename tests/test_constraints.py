"""Laws of constraints on stored tensors."""

import copy

import pytest
import torch
from torch import nn

from methods.layers import (
    CONSTRAINTS,
    Constraint,
    Mask,
    build_constraint,
    constrain,
    constrained_tensors,
    constraints,
    original,
    release,
)

KEEP = torch.tensor([[True, False, True], [False, False, True]])


class Doubled(Constraint):
    """A second constraint, to see the order in which they act."""

    def config(self):
        return {}

    def forward(self, tensor):
        return 2 * tensor + 1

    def shipped(self, tensor):
        return self(tensor), None


@pytest.fixture
def layer() -> nn.Linear:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1.0, 7.0).reshape(2, 3))
    return layer


def test_a_mask_zeroes_what_it_does_not_keep_and_nothing_else(layer):
    before = layer.weight.detach().clone()
    constrain(layer, "weight", Mask.of(KEEP))
    assert torch.equal(layer.weight, before * KEEP)
    assert torch.equal(original(layer, "weight"), before)


@pytest.mark.parametrize("wrong", [float("inf"), float("-inf"), float("nan")])
def test_a_diverged_entry_under_a_mask_stays_zero(layer, wrong):
    constrain(layer, "weight", Mask.of(KEEP))
    with torch.no_grad():
        original(layer, "weight")[0, 1] = wrong
    layer.weight.sum().backward()
    assert layer.weight[0, 1] == 0
    assert torch.equal(original(layer, "weight").grad, KEEP.float())


def test_a_mask_outlives_training_with_momentum_and_weight_decay(layer):
    constrain(layer, "weight", Mask.of(KEEP))
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        layer(torch.ones(4, 3)).square().sum().backward()
        optimiser.step()
    assert (layer.weight[~KEEP] == 0).all()
    assert (layer.weight[KEEP] != 0).all()


def test_a_mask_holds_a_copy(layer):
    keep = KEEP.clone()
    mask = Mask.of(keep)
    keep.fill_(False)
    assert torch.equal(mask.keep, KEEP)


def test_shipped_and_read_is_what_the_layer_computes_with():
    mask, tensor = Mask.of(KEEP), torch.arange(6.0).reshape(2, 3) - 7
    stored, reader = mask.shipped(tensor)
    assert torch.equal(reader(stored) if reader else stored, mask(tensor))


def test_configuration_and_state_make_a_mask_again():
    mask = Mask.of(KEEP)
    again = build_constraint("Mask", mask.config())
    again.load_state_dict(mask.state_dict())
    assert torch.equal(again.keep, KEEP)


def test_constraints_act_in_the_order_they_were_set(layer):
    before = layer.weight.detach().clone()
    constrain(layer, "weight", Mask.of(KEEP))
    constrain(layer, "weight", Doubled())
    assert [type(one) for one in constraints(layer, "weight")] == [Mask, Doubled]
    assert torch.equal(layer.weight, 2 * (before * KEEP) + 1)


def test_release_leaves_the_original(layer):
    before = layer.weight
    constrain(layer, "weight", Mask.of(KEEP))
    constrain(layer, "bias", Doubled())
    assert set(constrained_tensors(layer)) == {"weight", "bias"}
    release(layer, "weight")
    assert set(constrained_tensors(layer)) == {"bias"}
    assert torch.equal(layer.weight, before)
    release(layer, "bias")
    assert type(layer) is nn.Linear
    assert not list(constrained_tensors(layer))


def test_nothing_to_release_is_no_error(layer):
    release(layer, "weight")
    assert constraints(layer, "weight") == []
    assert original(layer, "weight") is layer.weight


def test_a_copy_has_constraints_of_its_own(layer):
    constrain(layer, "weight", Mask.of(KEEP))
    other = copy.deepcopy(layer)
    constraints(other, "weight")[0].keep.fill_(True)
    assert (layer.weight[~KEEP] == 0).all()
    assert (other.weight[~KEEP] != 0).all()


def test_what_is_done_to_a_copy_is_not_done_to_the_layer(layer):
    constrain(layer, "weight", Mask.of(KEEP))
    constrain(copy.deepcopy(layer), "bias", Doubled())
    assert set(constrained_tensors(layer)) == {"weight"}
    assert layer.bias is not None  # and can still be read
    release(copy.deepcopy(layer), "weight")
    assert (layer.weight[~KEEP] == 0).all()


def test_releasing_a_copy_leaves_the_original_whole(layer):
    constrain(layer, "weight", Mask.of(KEEP))
    before, other = layer.weight.clone(), copy.deepcopy(layer)
    release(other, "weight")
    assert type(other) is nn.Linear
    assert torch.equal(layer.weight, before)


def test_constraining_a_copy_leaves_the_original_whole(layer):
    constrain(layer, "weight", Mask.of(KEEP))
    other = copy.deepcopy(layer)
    constrain(other, "bias", Doubled())
    assert torch.equal(other.bias, 2 * layer.bias + 1)
    assert list(constrained_tensors(layer)) == ["weight"]


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_the_table_names_each_constraint_by_its_class(name):
    assert CONSTRAINTS[name].__name__ == name


def test_unknown_constraints_and_unfit_configurations_are_refused():
    with pytest.raises(ValueError, match="unknown constraint 'Maks'"):
        build_constraint("Maks", {})
    with pytest.raises(ValueError, match="cannot be made of"):
        build_constraint("Mask", {"size": 3})
