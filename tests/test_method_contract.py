"""Laws that every method and every allowed pair of methods keeps, and offenders that show the laws can be broken.

A method of `METHODS` is put through them by itself, with its default hyperparameters, on a tiny network.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import tempfile
import typing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from bench.artifact import load, save, ship
from methods import METHODS, CompressionMethod, Pipeline, Task
from methods.base import Effect, Refused
from methods.graph import replace_module, trace

ROOT = Path(__file__).parents[1]
WITHOUT_TRAINING = {"ptq"}  # every other method calls `finetune` once
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


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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
    inside: bool = False

    def finetune(self, model: GraphModule, *, lr_scale: float = 1.0) -> GraphModule:
        self.calls.append(lr_scale)
        self.inside = True
        model.train()
        x, y = drawn(16, *SHAPE, seed=8).to(self.device), (torch.arange(16) % 10).to(self.device)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01 * lr_scale, momentum=0.9, weight_decay=1e-4)
        with torch.enable_grad():
            for _ in range(BUDGET):
                optimiser.zero_grad(set_to_none=True)
                F.cross_entropy(model(x), y).backward()
                optimiser.step()
                self.steps += 1
        self.inside = False
        return model.eval()

    def calibration(self, count: int):
        yield from drawn(min(count, 24), *SHAPE, seed=9).to(self.device).split(8)

    def task(self, seed: int = 3) -> Task:
        return Task(self.finetune, self.calibration, seed=seed, device=self.device)


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
    assert stored_values(run.results[0]) <= stored_values(network())


def stays_within_the_budget(run: Trial) -> None:
    stages = run.method.stages if isinstance(run.method, Pipeline) else (run.method,)
    quiet = tuple(METHODS[name] for name in WITHOUT_TRAINING)
    assert len(run.spy.calls) == sum(not isinstance(stage, quiet) for stage in stages)
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


def allowed(stages: tuple[CompressionMethod, ...]) -> bool:
    try:
        Pipeline(stages)
    except ValueError:
        return False
    return True


DEFAULTS = {name: kind() for name, kind in METHODS.items()}
PAIRS = {f"{a}+{b}": (DEFAULTS[a], DEFAULTS[b]) for a in METHODS for b in METHODS}
CHAINS = {name: Pipeline(stages) for name, stages in PAIRS.items() if allowed(stages)}
CHAINS["dct+prune+qat"] = Pipeline((DEFAULTS["dct"], DEFAULTS["prune"], DEFAULTS["qat"]))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", [*METHODS, *CHAINS])
def test_every_method_and_chain_keeps_every_law(name, law):
    law(trial({**DEFAULTS, **CHAINS}[name]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", [*METHODS, *CHAINS])
def test_every_method_and_chain_runs_on_a_gpu(name):
    model, spy = network().to("cuda"), Spy(device="cuda")
    result = {**DEFAULTS, **CHAINS}[name].compress(model, spy.task())
    assert {tensor.device.type for tensor in (*result.parameters(), *result.buffers())} == {"cuda"}
    with torch.no_grad():
        assert result(images(device="cuda")).isfinite().all()


# Offenders: each breaks one law.


@dataclass(frozen=True)
class Honest(CompressionMethod):
    """Keeps every law; what offenders are made from."""

    effect = Effect.ZEROS_WEIGHTS

    def compress(self, model, task):
        return task.finetune(copy.deepcopy(model))


class Vandal(Honest):
    def compress(self, model, task):
        with torch.no_grad():
            model.norm.running_mean.zero_()
        return super().compress(model, task)


class Waker(Honest):
    def compress(self, model, task):
        result = super().compress(model, task)
        model.norm.train()
        return result


class Freezer(Honest):
    def compress(self, model, task):
        result = super().compress(model, task)
        model.head.weight.requires_grad_(False)
        return result


class Rewriter(Honest):
    def compress(self, model, task):
        result = super().compress(model, task)
        end = next(node for node in model.graph.nodes if node.op == "output")
        with model.graph.inserting_before(end):
            end.args = (model.graph.call_function(torch.relu, end.args),)
        model.recompile()
        return result


class Replacer(Honest):
    def compress(self, model, task):
        result = super().compress(model, task)
        replace_module(model, "act", nn.Identity())
        return result


class Stirrer(Honest):
    def compress(self, model, task):
        torch.rand(1)
        return super().compress(model, task)


class Switcher(Honest):
    def compress(self, model, task):
        result = super().compress(model, task)
        torch.set_grad_enabled(False)
        return result


class Gambler(Honest):
    def compress(self, model, task):
        model = super().compress(model, task)
        with torch.no_grad():
            model.head.weight.add_(torch.randn_like(model.head.weight))
        return model


class Shrinker(Honest):
    def compress(self, model, task):
        model = super().compress(model, task)
        model.head = nn.Linear(20, 9)
        return model.eval()


class Exploder(Honest):
    def compress(self, model, task):
        model = super().compress(model, task)
        with torch.no_grad():
            model.head.bias[0] = math.nan
        return model


class Restless(Honest):
    def compress(self, model, task):
        model = super().compress(model, task)
        model.second_norm.train()
        return model


class Sharer(Honest):
    def compress(self, model, task):
        result = super().compress(model, task)
        result.head.bias = model.head.bias
        return result


class Forgetful(Honest):
    """Computes with something that is no part of what is stored."""

    def compress(self, model, task):
        model = super().compress(model, task)
        model.hidden.register_forward_hook(lambda layer, args, y: y * 0.5)
        return model


class Hoarder(Honest):
    def compress(self, model, task):
        model = super().compress(model, task)
        model.act = nn.PReLU(50)
        return model.eval()


class Glutton(Honest):
    def compress(self, model, task):
        return task.finetune(super().compress(model, task))


class Idler(Honest):
    def compress(self, model, task):
        return copy.deepcopy(model).eval()


class Moonlighter(Honest):
    def compress(self, model, task):
        model = super().compress(model, task)
        model(next(task.calibration(8))).square().sum().backward()
        with torch.no_grad():
            model.head.weight -= 1e-3 * model.head.weight.grad
        return model


OFFENDERS = [
    (Vandal, leaves_its_input_alone),
    (Waker, leaves_its_input_alone),
    (Freezer, leaves_its_input_alone),
    (Rewriter, leaves_its_input_alone),
    (Replacer, leaves_its_input_alone),
    (Stirrer, leaves_the_process_alone),
    (Switcher, leaves_the_process_alone),
    (Gambler, same_seed_same_result),
    (Shrinker, keeps_the_output_shape),
    (Exploder, keeps_the_output_shape),
    (Restless, returns_eval_mode),
    (Sharer, returns_a_network_of_its_own),
    (Forgetful, survives_the_file),
    (Hoarder, stores_no_more_values),
    (Glutton, stays_within_the_budget),
    (Idler, stays_within_the_budget),
    (Moonlighter, trains_only_through_the_task),
]


@pytest.mark.parametrize(("offender", "law"), OFFENDERS, ids=lambda one: one.__name__)
def test_laws_catch_offenders(offender, law):
    with torch.enable_grad(), pytest.raises(AssertionError):
        law(trial(offender()))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_honest_method_is_not_accused(law):
    law(trial(Honest()))


def test_every_law_has_an_offender():
    assert {law for _, law in OFFENDERS} == set(LAWS)


# Hyperparameters


@pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS)
def test_fields_are_hyperparameters_a_command_line_can_write(kind):
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind() == kind()
    assert hash(kind()) == hash(kind())
    assert isinstance(kind.effect, Effect)
    for name, hint in typing.get_type_hints(kind).items():
        if name in {one.name for one in dataclasses.fields(kind)}:
            plain = hint in (bool, int, float, str) or typing.get_origin(hint) is typing.Literal
            assert plain, f"{name}: {hint}"
            assert type(getattr(kind(), name)) in (bool, int, float, str)


FLOATS = [
    (kind, one.name) for kind in METHODS.values() for one in dataclasses.fields(kind) if isinstance(one.default, float)
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize(("kind", "name"), FLOATS, ids=lambda one: getattr(one, "__name__", one))
def test_impossible_numbers_are_refused_with_name_value_and_what_to_do(kind, name, value):
    with pytest.raises(ValueError, match=rf"{name} must be .*, got {value}: \w+") as caught:
        kind(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_card_that_names_its_hyperparameters_and_defaults(name):
    card = (ROOT / "docs" / "methods" / f"{name}.md").read_text().splitlines()
    rows = [line for line in card if line.startswith("| `")]
    expected = [f"| `{one.name}` | `{one.default}` |" for one in dataclasses.fields(METHODS[name])]
    assert [" | ".join(row.split(" | ")[:2]) + " |" for row in rows] == expected


# Pipelines


class Sentinel(Spy):
    def finetune(self, model, *, lr_scale=1.0):
        raise AssertionError("something ran")


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ("prune+dct", "replace the tensors whose entries were set to zero"),
        ("ptq+dct", "replace the tensors that were quantised"),
        ("qat+prune", "fitted to the weights before pruning"),
        ("ptq+qat", "quantised already"),
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
