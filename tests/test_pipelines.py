"""Laws of chains: impossible orders are refused before anything runs, allowed ones multiply their savings."""

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from methods import METHODS, Pipeline
from methods.base import Refused
from methods.graph import trace
from tests.contract import CHAINS, DEFAULTS, Spy, network, outputs, stored, stored_values, trial


class Sentinel(Spy):
    def finetune(self, model, *, lr_scale=1.0, full=False, decay=None, at_step=None):
        raise AssertionError("something ran")


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ("prune+dct", "replace the tensors whose entries were set to zero"),
        ("ptq+dct", "replace the tensors that were quantised"),
        ("qat+prune", "fitted to the weights before pruning"),
        ("ptq+qat", "precision has been lowered already"),
        ("dct+dct", "replaced already"),
        ("dct+qat+prune", "fitted to the weights before pruning"),
    ],
)
def test_impossible_orders_are_refused_before_anything_runs(chain, reason):
    stages = tuple(DEFAULTS[name] for name in chain.split("+"))
    with pytest.raises(ValueError, match=reason):
        Pipeline(stages).compress(network(), Sentinel().task())


def test_an_impossible_order_hides_in_no_nested_pipeline():
    inner = Pipeline((DEFAULTS["dct"], DEFAULTS["prune"]))
    for stages in [(inner, DEFAULTS["dct"]), (DEFAULTS["qat"], inner)]:
        with pytest.raises(ValueError, match="cannot follow"):
            Pipeline(stages)


@pytest.mark.parametrize("name", [name for name in CHAINS if "+" in name])
def test_a_chain_is_its_stages_one_after_the_other(name):
    model = network()
    for stage in CHAINS[name].stages:
        model = stage.compress(model, Spy().task())
    assert torch.equal(outputs(model), outputs(trial(CHAINS[name]).results[0]))


def test_a_stage_that_cannot_run_on_what_it_gets_refuses_with_its_reason():
    convolutions = trace(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten()))
    with pytest.raises(Refused, match="no linear layer"):
        Pipeline((METHODS["prune"](layers="linear"),)).compress(convolutions, Spy().task())


def test_an_empty_pipeline_is_refused_or_changes_nothing():
    assert torch.equal(outputs(Pipeline(()).compress(network(), Sentinel().task())), outputs(network()))


def nonzeros(model: GraphModule, names: set[str]) -> int:
    return sum(int((tensor != 0).sum()) for path, tensor in model.state_dict().items() if path.split(".")[-1] in names)


def test_savings_of_a_chain_multiply_in_the_file():
    keep, sparsity = 0.25, 0.75
    dct, prune = METHODS["dct"](keep=keep), METHODS["prune"](sparsity=sparsity)
    weights = {"weight", "coefficients"}
    dense = stored_values(network())
    spectral = stored(dct)[3]
    chained = stored(Pipeline((dct, prune)))[3]
    of_dct, of_both = (nonzeros(model, weights) for model in (spectral, chained))
    assert stored_values(spectral) < 0.4 * dense  # depthwise layer, biases and norms stay
    assert of_both == pytest.approx((1 - sparsity) * of_dct, rel=0.1)  # norms that cannot be folded are not pruned
    assert of_both < min(of_dct, nonzeros(stored(prune)[3], weights))
