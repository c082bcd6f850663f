"""Laws of ensembles: the mean of what the members give alone, the sum of what they cost, through every file."""

import copy
import dataclasses
import functools
import math

import pytest
import torch
from torch import nn

from bench.artifact import load, save, ship
from bench.measure.macs import macs_of
from bench.runtimes import RUNTIMES
from methods import METHODS, Ensemble
from methods.base import Refused
from methods.ensemble import SEEDS_APART, joined
from methods.graph import trace
from tests.contract import SHAPE, Spy, images, network, outputs, stored_values

MADE = {"dense": None, "prune": METHODS["prune"](sparsity=0.5), "ptq": METHODS["ptq"](), "dct": METHODS["dct"](),
        "cluster": METHODS["cluster"]()}  # fmt: skip


class Chains(Spy):
    """Members made by real methods, on a dense network of each seed."""

    def compressed(self, chain, offset=0):
        dense, method = super().compressed("dense", offset), MADE[chain]
        return method.compress(dense, self.task()) if method else dense


def together(of, seeds=None, mean="logits"):
    method, spy = Ensemble(of, seeds, mean), Chains()
    members = [Chains().compressed(chain, offset) for chain, offset in method.asks_for()]
    return method.compress(network(), spy.task()), members


def expected(members, mean):
    rows = torch.stack([outputs(member) for member in members])
    return rows.mean(0) if mean == "logits" else rows.softmax(2).mean(0).log()


ALL = "dense,prune,ptq,dct,cluster"


@functools.cache
def all_together(mean):
    return together(ALL, mean=mean)[0]


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
@pytest.mark.parametrize(("of", "seeds"), [("dense", None), ("dense,prune", 2), (ALL, None)])
def test_outputs_are_the_mean_of_the_members_and_costs_their_sum(of, seeds, mean):
    model, members = together(of, seeds, mean)
    assert len(members) == {"dense": 3, "dense,prune": 4, ALL: 5}[of]
    assert torch.allclose(outputs(model), expected(members, mean), atol=1e-5)
    assert stored_values(model) == sum(map(stored_values, members))
    assert macs_of(model, SHAPE) == sum(macs_of(member, SHAPE) for member in members)


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_members_of_all_kinds_survive_the_file_and_another_runtime(runtime, mean, tmp_path):
    pytest.importorskip(runtime)
    model = all_together(mean)
    save(ship(model), tmp_path / "row.nnc", {})
    read = load(tmp_path / "row.nnc").model
    assert (outputs(read) - outputs(model)).abs().max() <= 0.03 * outputs(model).abs().max()
    deployed = RUNTIMES[runtime].prepare(read, SHAPE, tmp_path)
    found = RUNTIMES[runtime].load(read, deployed, threads=1, device="cpu").run(images().numpy())
    assert (torch.from_numpy(found) - outputs(read)).abs().max() <= 0.05 * outputs(read).abs().max()


def test_probabilities_that_vanish_leave_no_infinite_logits():
    model = trace(nn.Sequential(nn.Flatten(), nn.Linear(126, 3)))
    members = []
    for sign in (1.0, -1.0):
        member = copy.deepcopy(model)
        with torch.no_grad():
            member.get_submodule("1").weight.fill_(0)
            member.get_submodule("1").bias.copy_(sign * torch.tensor([2000.0, 0.0, -2000.0]))
        members.append(member)
    found = outputs(joined(members, "probabilities"))
    assert torch.allclose(found[0], torch.tensor([-math.log(2), -2000.0, -math.log(2)]), atol=1e-3)


@pytest.mark.parametrize("name", ["ptq", "prune", "qat", "half"])
def test_what_follows_acts_on_all_members(name):
    model, _ = together("dense,prune", 1)
    after = METHODS[name]().compress(model, Chains().task())
    assert outputs(after).shape == (5, 10)
    changed = {path.split(".")[0] for path, tensor in after.state_dict().items()
               if path not in model.state_dict() or not torch.equal(tensor, model.state_dict()[path])}  # fmt: skip
    assert changed >= {"member0", "member1"}


class Writer(nn.Module):
    """Writes into the images that it is given."""

    def __init__(self):
        super().__init__()
        self.act, self.flat, self.head = nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(126, 10)

    def forward(self, x):
        return self.head(self.flat(self.act(x)))


def test_members_that_disturb_each_other_are_refused():
    @dataclasses.dataclass
    class Disturbed(Chains):
        def compressed(self, chain, offset=0):
            torch.manual_seed(offset)
            return trace(Writer()) if offset == 0 else network()

    with torch.random.fork_rng(), pytest.raises(Refused, match="do not give together what they give alone"):
        Ensemble("dense", 2).compress(network(), Disturbed().task())


def test_it_asks_for_each_member_by_chain_and_offset():
    assert Ensemble().asks_for() == (("dense", 0), ("dense", SEEDS_APART), ("dense", 2 * SEEDS_APART))
    assert Ensemble("ptq,half").asks_for() == (("ptq", 0), ("half", 0))
    both = (("ptq", 0), ("ptq", SEEDS_APART), ("half", 0), ("half", SEEDS_APART))
    assert Ensemble("ptq,half", 2).asks_for() == both


def test_rows_of_several_seeds_have_no_network_in_common():
    """Otherwise their deviation would be that of rows which share members, and intervals over seeds too narrow."""
    seeds = range(100)
    used = [seed + offset for seed in seeds for _, offset in Ensemble(seeds=5).asks_for()]
    assert len(set(used)) == len(used)
