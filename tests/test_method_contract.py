"""Every method and every allowed pair of methods keeps every law, and offenders show that the laws can be broken.

A method of `METHODS` is put through them by itself, with its default hyperparameters, on a tiny network.
"""

import copy
import dataclasses
import math
import types
import typing
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from methods import METHODS, CompressionMethod
from methods.base import Effect
from methods.graph import replace_module
from tests.contract import (
    CHAINS,
    DEFAULTS,
    LAWS,
    Spy,
    breach,
    images,
    keeps_the_output_shape,
    leaves_its_input_alone,
    leaves_the_process_alone,
    network,
    returns_a_network_of_its_own,
    returns_eval_mode,
    same_seed_same_result,
    stays_within_the_budget,
    stores_no_more_values,
    survives_the_file,
    trains_only_through_the_task,
    trial,
)

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", [*METHODS, *CHAINS])
def test_every_method_and_chain_keeps_every_law(name, law):
    assert breach(law, trial({**DEFAULTS, **CHAINS}[name])) == ""


@pytest.mark.gpu
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


class Grower(Honest):
    """Puts a network of its own in place, and stores more than that network did."""

    effect = Effect.MAKES_NETWORK

    def compress(self, model, task):
        student = task.finetune(task.build("student"))
        student.dropout = nn.PReLU(5)
        return student.eval()


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
    (Grower, stores_no_more_values),
    (Glutton, stays_within_the_budget),
    (Idler, stays_within_the_budget),
    (Moonlighter, trains_only_through_the_task),
]


@pytest.mark.parametrize(("offender", "law"), OFFENDERS, ids=lambda one: one.__name__)
def test_laws_catch_offenders(offender, law):
    with torch.enable_grad():
        assert breach(law, trial(offender())).startswith(law.__name__)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_honest_method_is_not_accused(law):
    assert breach(law, trial(Honest())) == ""


def test_every_law_has_an_offender():
    assert {law for _, law in OFFENDERS} == set(LAWS)


# Hyperparameters


@pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS)
def test_fields_are_hyperparameters_a_command_line_can_write(kind):
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind() == kind()
    assert hash(kind()) == hash(kind())
    assert isinstance(kind().effect, Effect)
    for name, hint in typing.get_type_hints(kind).items():
        if name in {one.name for one in dataclasses.fields(kind)}:
            one_value, may_be_unset = unwrapped(hint)
            plain = one_value in (bool, int, float, str) or typing.get_origin(one_value) is typing.Literal
            assert plain, f"{name}: {hint}"
            default = getattr(kind(), name)
            assert type(default) in (bool, int, float, str) or (default is None and may_be_unset)


def unwrapped(hint):
    """The type of a field's values, and whether it may be None; of a named kind of text, text."""
    hint = getattr(hint, "__supertype__", hint)
    if typing.get_origin(hint) is not types.UnionType:
        return hint, False
    kinds = [one for one in typing.get_args(hint) if one is not type(None)]
    assert len(kinds) == 1, hint
    return kinds[0], True


FLOATS = [
    (kind, one.name)
    for kind in METHODS.values()
    for one in dataclasses.fields(kind)
    if unwrapped(typing.get_type_hints(kind)[one.name])[0] is float
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
    defaults = {
        one.name: f"`{one.default}`" if one.default != "" else "empty" for one in dataclasses.fields(METHODS[name])
    }
    expected = [f"| `{field}` | {default} |" for field, default in defaults.items()]
    assert [" | ".join(row.split(" | ")[:2]) + " |" for row in rows] == expected
