"""The laws of compression methods, and the tiny network and the spying task on which they are tried."""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from baselines.nets import build
from bench.artifact import load, save, ship
from methods import METHODS, CompressionMethod, Pipeline, Task
from methods.base import Effect, Objective
from methods.graph import trace
from methods.pruning import Prune
from tests.drawing import drawn

SHAPE = (2, 9, 7)  # [c, h, w], odd on purpose
BUDGET = 2  # optimiser steps of one call of `finetune`


class Tiny(nn.Module):
    """What real networks are made of, small: biased convolutions with batch norm, a group, a depthwise layer, a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.second_norm = nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, stride=2, groups=12, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.flat = nn.Flatten()
        self.hidden = nn.Linear(12 * 4 * 3, 20)
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x)))
        x = F.relu(x + self.second_norm(self.grouped(x)))
        return self.head(F.relu(self.hidden(self.flat(self.depthwise(x)))))


def network() -> GraphModule:
    """The same values at each call; the global generator is neither read nor moved."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = trace(Tiny())
    model.norm.running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    model.second_norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    return model


def images(count: int = 5, device: str = "cpu") -> Tensor:
    return drawn(count, *SHAPE, seed=7).to(device)


@dataclass
class Spy:
    """A task's training and calibration, that keep count of what a method asks of them."""

    device: str = "cpu"
    calls: list[float] = field(default_factory=list)  # lr_scale of each call of finetune
    steps: int = 0
    given: int = 0  # values stored by the networks that were made for the method
    inside: bool = False

    def finetune(
        self,
        model: GraphModule,
        *,
        lr_scale: float = 1.0,
        full: bool = False,
        decay: Mapping[str, float] | None = None,
        at_step: Callable[[float], None] = lambda done: None,
        penalty: Callable[[float], Tensor] = lambda done: torch.zeros(()),
        start: float = 0.0,
        objective: Objective | None = None,
        subset: float = 1.0,
        augment: bool = True,
        epochs: int | None = None,
        adam: float | None = None,
    ) -> GraphModule:
        self.calls.append(lr_scale)
        self.inside = True
        model.train()
        beside = objective.beside if objective and objective.beside else nn.Identity()
        x, y = drawn(16, *SHAPE, seed=8).to(self.device), (torch.arange(16) % 10).to(self.device)
        trained = [*model.parameters(), *beside.parameters()]
        optimiser = torch.optim.SGD(trained, lr=0.01 * lr_scale, momentum=0.9, weight_decay=1e-4)
        with torch.enable_grad(), torch.random.fork_rng():
            torch.manual_seed(8)  # of noise in training, as the loop's is seeded
            for step in range(BUDGET):
                at_step(step / BUDGET)
                optimiser.zero_grad(set_to_none=True)
                aim = objective(model, x, y)[1] if objective else F.cross_entropy(model(x), y)
                (aim + penalty(step / BUDGET)).backward()
                optimiser.step()
                self.steps += 1
        self.inside = False
        return model.eval()

    def calibration(self, count: int):
        yield from drawn(min(count, 24), *SHAPE, seed=9).to(self.device).split(8)

    def examples(self, count: int):
        for images in self.calibration(count):
            yield images, (torch.arange(len(images)) * 3 % 10).to(self.device)

    def build(self, name: str) -> GraphModule:
        """A small student, whatever the name."""
        made = trace(build("student:widths=6-8:hidden=5:dropout=0.1", classes=10, input_shape=SHAPE, seed=len(name)))
        self.given += stored_values(made)
        return made.to(self.device)

    def compressed(self, chain: str, offset: int = 0) -> GraphModule:
        """The same values for each offset, as of a dense network of another seed."""
        made = network()
        generator = torch.Generator().manual_seed(offset)
        with torch.no_grad():
            for tensor in made.parameters():
                tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
        self.given += stored_values(made)
        return made.to(self.device)

    def stored_bytes(self, model: GraphModule) -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "row.model"
            save(ship(model.cpu()), path, {})
            return path.stat().st_size

    def task(self, seed: int = 3) -> Task:
        return Task(
            self.finetune,
            self.calibration,
            seed=seed,
            device=self.device,
            examples=self.examples,
            build=self.build,
            network=lambda name: network().to(self.device),
            compressed=self.compressed,
            file_bytes=lambda chain: self.stored_bytes(network()) * 2 // 3,
            stored_bytes=self.stored_bytes,
        )


def fingerprint(model: GraphModule) -> dict[str, object]:
    """All that a method could change in the model it was given."""
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "identities": [id(tensor) for tensor in (*model.parameters(), *model.buffers())],
        "gradients": {name: (one.requires_grad, one.grad) for name, one in model.named_parameters()},
        "code": model.code,
        "layers": {name: (type(layer), layer.training) for name, layer in model.named_modules()},
        "attributes": {name: sorted(vars(layer)) for name, layer in model.named_modules()},
        "hooks": {name: (len(one._forward_hooks), len(one._backward_hooks)) for name, one in model.named_modules()},
    }


def global_state() -> dict[str, object]:
    return {
        "generator": torch.get_rng_state().tolist(),
        "gradients on": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return one == other


@dataclass
class Trial:
    """A method run twice on the same network, the global generator in different states."""

    method: CompressionMethod
    before: tuple[dict, dict]  # fingerprints of the first run's model and of the process, before and after
    after: tuple[dict, dict]
    results: tuple[GraphModule, GraphModule]
    spy: Spy  # of the first run


@functools.cache
def trial(method: CompressionMethod) -> Trial:
    model, spy = network(), Spy()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        before = fingerprint(model), global_state()
        first = method.compress(model, spy.task())
        after = fingerprint(model), global_state()
        torch.manual_seed(2)
        second = method.compress(network(), Spy().task())
    return Trial(method, before, after, (first, second), spy)


def outputs(model: GraphModule) -> Tensor:
    with torch.no_grad():
        return model(images())


@functools.cache
def stored(method: CompressionMethod) -> tuple[GraphModule, GraphModule, GraphModule, GraphModule]:
    """The dense network and the compressed one as they ship, and as they are read back from their files."""
    shipped = [ship(network()), ship(trial(method).results[0])]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.model" for index in range(2)]
        for model, path in zip(shipped, paths, strict=True):
            save(model, path, {"net": "tiny"})
        return shipped[0], shipped[1], load(paths[0]).model, load(paths[1]).model


def stored_values(model: GraphModule) -> int:
    return sum(tensor.numel() for tensor in model.parameters())


def leaves_its_input_alone(run: Trial) -> None:
    for part in run.before[0]:
        assert same(run.before[0][part], run.after[0][part]), part


def leaves_the_process_alone(run: Trial) -> None:
    for part in run.before[1]:
        assert same(run.before[1][part], run.after[1][part]), part


def same_seed_same_result(run: Trial) -> None:
    assert same(*(model.state_dict() for model in run.results))
    assert torch.equal(*map(outputs, run.results))


def keeps_the_output_shape(run: Trial) -> None:
    for count in (1, 5):
        with torch.no_grad():
            y = run.results[0](images(count))
        assert y.shape == (count, 10)
        assert y.dtype == torch.float32
        assert y.isfinite().all()


def returns_eval_mode(run: Trial) -> None:
    assert not [name for name, layer in run.results[0].named_modules() if layer.training]


def returns_a_network_of_its_own(run: Trial) -> None:
    model = network()
    given = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    result = run.method.compress(model, Spy().task())
    assert not given & {tensor.data_ptr() for tensor in (*result.parameters(), *result.buffers())}


def survives_the_file(run: Trial) -> None:
    _, shipped, _, read = stored(run.method)
    expected = outputs(run.results[0])
    # batch norms are folded on shipping, which rounds: where activations are on a grid, an entry may move by one step
    step = 0.03 if run.method.effect is Effect.LOWERS_PRECISION else 1e-4
    assert (outputs(shipped) - expected).abs().max() <= step * expected.abs().max()
    assert (outputs(read) - outputs(shipped)).abs().max() <= 1e-6
    assert not read.training


def stores_no_more_values(run: Trial) -> None:
    most = run.spy.given or stored_values(
        network()
    )  # of the networks that were made for it, else of the one it was given
    assert stored_values(run.results[0]) <= most


def stays_within_the_budget(run: Trial) -> None:
    stages = run.method.stages if isinstance(run.method, Pipeline) else (run.method,)
    assert len(run.spy.calls) == sum(stage.trains for stage in stages)
    assert run.spy.steps == BUDGET * len(run.spy.calls)
    assert all(0 < scale <= 10 for scale in run.spy.calls)


def trains_only_through_the_task(run: Trial) -> None:
    spy, backward = Spy(), torch.autograd.backward
    outside: list[bool] = []

    def watched(*args, **kwargs):
        outside.append(not spy.inside)
        return backward(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "backward", watched)
        run.method.compress(network(), spy.task())
    assert not any(outside)


LAWS = [
    leaves_its_input_alone,
    leaves_the_process_alone,
    same_seed_same_result,
    keeps_the_output_shape,
    returns_eval_mode,
    returns_a_network_of_its_own,
    survives_the_file,
    stores_no_more_values,
    stays_within_the_budget,
    trains_only_through_the_task,
]


def breach(law: Callable[[Trial], None], run: Trial) -> str:
    """How `run` breaks a law, in words; empty where it keeps it."""
    try:
        law(run)
    except AssertionError as broken:
        return f"{law.__name__}: {broken}"
    return ""


def allowed(stages: tuple[CompressionMethod, ...]) -> bool:
    try:
        Pipeline(stages)
    except ValueError:
        return False
    return True


CHANNELS = Prune(pattern="channels")
DEFAULTS = {name: kind() for name, kind in METHODS.items()}
# what makes a network makes one like any other, so after each of them one method of each effect has to do; and how a
# file is written is nothing to the method before it
AFTER_A_NETWORK = ("dct", "prune", "qat")
PAIRS = {
    f"{a}+{b}": (one, DEFAULTS[b])
    for a, one in DEFAULTS.items()
    for b in (METHODS if one.effect is not Effect.MAKES_NETWORK else AFTER_A_NETWORK)
    if DEFAULTS[b].effect is not Effect.WRITES_FILE or a == "prune"
}
CHAINS: dict[str, CompressionMethod] = {name: Pipeline(stages) for name, stages in PAIRS.items() if allowed(stages)}
if importlib.util.find_spec("torch_pruning"):
    CHAINS["channels"] = CHANNELS
    CHAINS |= {f"channels+{name}": Pipeline((CHANNELS, DEFAULTS[name])) for name in ("dct", "lowrank", "prune", "qat")}
CHAINS["dct+prune+qat"] = Pipeline((DEFAULTS["dct"], DEFAULTS["prune"], DEFAULTS["qat"]))
