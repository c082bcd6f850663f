"""Pruning: the entries that matter least become zero and stay zero.

Idea     a score ranks stored entries, a pattern says which are dropped together, rates say how many of each layer, and
         a schedule says when; each is chosen apart from the others.
Source   Han et al. 2015, arXiv 1506.02626 (magnitude, iterative); Zhu and Gupta 2017, arXiv 1710.01878 (gradual);
         Renda et al. 2020, arXiv 2003.02389 (rewinding); scores and patterns name theirs where they are defined.
Stored   the positions and the values of the entries that are kept.
Cost     the score's evidence and one selection a step, then fine-tuning with the zeros held.
Channels go whole instead (`pattern=channels`, methods/pruning/channels.py), which leaves smaller dense layers.
Fails    with global rates a whole layer can go at extreme sparsity: accuracy falls to chance.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch.fx import GraphModule

from methods.base import CompressionMethod, CompressionStep, Effect, Strength, Task
from methods.layers import Mask, constraints, tied, weights
from methods.pruning.channels import DEFAULT_SPARSITY as CHANNELS_SPARSITY
from methods.pruning.channels import Channels, uncuttable
from methods.pruning.masks import narrow, out_of_reach, rewind, sizes_of, zero_share
from methods.pruning.patterns import Pattern, pattern_of
from methods.pruning.presets import lookahead_rates
from methods.pruning.rates import compound_kept, shares_to
from methods.pruning.scores import SCORES, TRAINING
from methods.pruning.silence import silence

_DEFAULT_SPARSITY = 0.9
_OF_RATES = ("global", "normalized", "uniform")
_GRADUAL_UNTIL = 0.75  # share of the fine-tuning after which a gradual schedule prunes no more
_GRADUAL_STEPS = 32  # in which it gets there


@dataclass(frozen=True)
class Prune(CompressionMethod):
    """Sets the fraction `sparsity` of all stored weights (coefficients, in spectral layers) to zero, or cuts channels.

    sparsity: fraction of the entries of the chosen layers that is zero afterwards, in [0, 1); what an earlier stage
        pruned counts and stays pruned. Not set: what the score finds, if it does, what the pattern alone drops, or 0.9.
        With pattern=channels the fraction of `of` that goes; not set: 0.5, or as near to it as can be.
    score: what ranks the entries, a name of `SCORES`.
    pattern: unstructured, 2of4 (any NofM), block, or channels.
    schedule: all at once (oneshot), in steps with fine-tuning after each (iterative), or cubically within one
        fine-tuning (gradual).
    rates: how much of each layer goes: by one threshold (global), by one threshold on scores in shares of the layer's
        own (normalized), the same share of each (uniform), or as the global ranking by another score gives (its name).
    preset: layer-wise rates of the literature in place of `rates`.
    step: fraction of what is left that a step of the iterative schedule drops; a preset's rates say it themselves.
    rewind: what fine-tuning goes back to: nothing, the dense training's learning rates (rate), or its weights as well.
    rewind_to: share of the dense training that is gone back to, in whole epochs; 0 is its beginning.
    block: outputs x inputs of a block, for that pattern.
    of: what `sparsity` is a fraction of, where channels are cut.
    round_to: the channels that are left of a layer are a multiple of it, where channels are cut.
    layers: prune convolutions, linear layers or both; rates are shared among those chosen.
    """

    sparsity: float | None = None
    score: str = "magnitude"
    pattern: str = "unstructured"
    schedule: Literal["oneshot", "iterative", "gradual"] = "oneshot"
    rates: str = "global"
    preset: Literal["none", "lookahead"] = "none"
    step: float = 0.5
    rewind: Literal["none", "rate", "weights"] = "none"
    rewind_to: float = 0.0
    block: str = "4x4"
    of: Literal["macs", "parameters", "channels"] = "macs"
    round_to: int = 8
    layers: Literal["all", "conv", "linear"] = "all"
    variants: ClassVar[tuple[str, ...]] = ("", "score=lookahead:schedule=gradual", "pattern=channels")

    @property
    def strength(self) -> Strength:  # type: ignore[override]
        """The sparsity, from what the pattern drops by itself."""
        least, most = (0.05, 0.95) if self._cuts else (max(0.05, self.units().least), 0.999)
        return Strength("sparsity", least, most, "logit")

    @property
    def effect(self) -> Effect:  # type: ignore[override]
        return Effect.REMOVES_CHANNELS if self._cuts else Effect.ZEROS_WEIGHTS

    @property
    def _cuts(self) -> bool:
        return self.pattern == "channels"

    def __post_init__(self) -> None:
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise ValueError(
                f"sparsity must be in [0, 1), got {self.sparsity}: pass the fraction of weights to set to zero"
            )
        for name, choices in _CHOICES.items():
            if (chosen := getattr(self, name)) not in choices:
                raise ValueError(f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}, got {chosen!r}")
        if not 0 < self.step < 1:
            raise ValueError(f"step must be in (0, 1), got {self.step}: pass the fraction of what is left to drop")
        if not 0 <= self.rewind_to < 1:
            raise ValueError(f"rewind_to must be in [0, 1), got {self.rewind_to}: pass a share of the dense training")
        if self.round_to < 1:
            raise ValueError(f"round_to must be at least 1, got {self.round_to}: 8 suits most kernels")
        least = 0.0 if self._cuts else self.units().least
        if self.sparsity is not None and self.sparsity < least:
            raise ValueError(f"{self.pattern} sets {least:g} of the weights to zero by itself, got sparsity "
                             f"{self.sparsity:g}: leave sparsity out, or set a higher one")  # fmt: skip
        self._check_idle()

    def _check_idle(self) -> None:
        """Raises: ValueError, where a field is set that another one makes idle."""
        if self.block != "4x4" and self.pattern != "block":
            raise ValueError(f"block={self.block} is for pattern=block, got pattern={self.pattern}")
        if self._cuts:
            self._check_cuts()
        elif chosen := self._chosen("of", "round_to"):
            raise ValueError(f"{chosen} is for pattern=channels, got pattern={self.pattern}")
        elif self._pattern_decides and (chosen := self._chosen("rates", "preset", "schedule")):
            raise ValueError(f"{chosen} changes nothing where pattern={self.pattern} alone says what goes: leave it "
                             "out, or set a sparsity too")  # fmt: skip
        if self.rewind_to and self.rewind == "none":
            raise ValueError(f"rewind_to={self.rewind_to:g} needs rewind=rate or rewind=weights")
        if self.rewind != "none" and self.schedule == "gradual":
            raise ValueError("a gradual schedule prunes while it trains and cannot rewind: use oneshot or iterative")
        if self.preset != "none" and (self.rates != "global" or self.layers != "all"):
            raise ValueError(f"preset={self.preset} sets the rates of all layers: leave rates and layers out")
        if self.rates == self.score:
            raise ValueError(f"rates={self.rates} is what rates=global is with score={self.score}: leave it out")
        if self.rates in TRAINING or (self.score in TRAINING and self.schedule != "oneshot"):
            raise ValueError(f"{', '.join(TRAINING)} trains the network, once: leave out rates and schedule with it")
        if self.step != 0.5 and (self.schedule != "iterative" or self.preset != "none"):
            raise ValueError(f"step={self.step:g} is for schedule=iterative without a preset")

    def _chosen(self, *names: str) -> str:
        """The first of the fields that is not at its default, as it is typed, or an empty text."""
        fields = {field.name: field.default for field in dataclasses.fields(self)}
        return next((f"{name}={value}" for name in names if (value := getattr(self, name)) != fields[name]), "")

    def _check_cuts(self) -> None:
        """Raises: ValueError, where a field is set that does not go with cutting channels."""
        if self.schedule == "gradual":
            raise ValueError("schedule=gradual prunes while it trains, in which no layer can change its size: cut "
                             "channels oneshot or iterative")  # fmt: skip
        if self.preset != "none":
            raise ValueError(f"preset={self.preset} has rates of weights, not of channels: leave it out, or set rates")
        if self.rewind == "weights":
            raise ValueError("rewind=weights goes back to tensors from before channels were cut: use rewind=rate")

    @property
    def _pattern_decides(self) -> bool:
        """Whether what goes follows from the pattern and the score alone, each group of entries by itself."""
        found = SCORES[self.score].threshold is not None
        return self.sparsity is None and not self._cuts and not found and self.units().least > 0

    @property
    def target(self) -> float:
        """The sparsity that is gone for; 0 where the pattern alone says it."""
        if self.sparsity is not None:
            return self.sparsity
        if self._cuts:
            return CHANNELS_SPARSITY
        found = self.units().least or SCORES[self.score].threshold is not None
        return 0.0 if found else _DEFAULT_SPARSITY

    def epochs(self, finetune_epochs: int, dense_epochs: int) -> int:
        once = finetune_epochs if self.rewind == "none" else dense_epochs - round(self.rewind_to * dense_epochs)
        steps = len(shares_to(self.target, self.step)) if self.schedule == "iterative" else 1
        return once * steps + dense_epochs * (self.score in TRAINING)

    def controls(self) -> Mapping[str, CompressionMethod]:
        """Random pruning at the same layer-wise rates; none where no setting gives those rates."""
        if self.score in ("random", *TRAINING) or self.rates == "normalized":
            return {}
        ranked = self.rates != "uniform" and self.preset == "none" and not self._pattern_decides
        if ranked and self.schedule != "oneshot":
            return {}  # the rates of later steps are those of what is left, which is another network where chance chose
        of_score = ranked and self.rates == "global"
        return {"random": dataclasses.replace(self, score="random", rates=self.score if of_score else self.rates)}

    def unsupported(self, model: GraphModule) -> str | None:
        """The reason why `model` cannot be pruned, or None."""
        stored = list(weights(model, self.layers))
        if not stored:
            return f"it has no {'conv or linear' if self.layers == 'all' else self.layers} layer"
        for path, layer, name in stored:
            if not bool(getattr(layer, name).isfinite().all()):
                return f"{path}.{name} holds values that are infinite or not numbers, which have no rank"
        if self._cuts:
            return uncuttable(model, self)
        if reason := tied(model, (layer for _, layer, _ in stored)):
            return reason
        for path, layer, name in stored:
            if others := [c for c in constraints(layer, name) if not isinstance(c, Mask)]:
                return f"{path}.{name} is held by a {type(others[0]).__name__} already"
        if reason := out_of_reach(model, self, stored):
            return reason
        scores = {self.score, *({self.rates} - set(_OF_RATES))}
        return next((why for name in sorted(scores) if (why := SCORES[name].unsupported(model, stored))), None)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        model = copy.deepcopy(model).eval()
        if self.schedule == "gradual":
            return _silenced(self._gradually(model, task), task)
        channels = Channels(self, model, task) if self._cuts else None
        targets = self._targets(model)
        for index in range(len(targets)):
            done = targets[: index + 1]

            def make(before: GraphModule = model, done: list[float] = done) -> GraphModule:
                return self._one_step(before, done, len(targets), task, channels)

            # the first steps of an iterative schedule are those of any row that goes further
            model = task.share(self._key(done), make) if self.schedule == "iterative" else make()
        return model if channels else _silenced(model, task)

    def _key(self, done: list[float]) -> str:
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        settings["sparsity"] = done
        return f"prune {settings}"

    def _targets(self, model: GraphModule) -> list[float]:
        """The sparsity of each step, rising."""
        if self.schedule == "oneshot":
            return [self.target]
        if self.preset == "none":
            return shares_to(self.target, self.step)
        stored = list(weights(model))
        sizes, rates = sizes_of(stored), lookahead_rates(model, stored)
        shares = []
        for step in range(1, 1000):
            share = 1 - compound_kept(sizes, rates, step) / sum(sizes)
            if share >= self.target - 0.5 / sum(sizes):
                break
            shares.append(share)
        return [*shares, self.target]

    def _one_step(
        self, model: GraphModule, done: list[float], steps: int, task: Task, channels: Channels | None
    ) -> GraphModule:
        if channels:
            model = channels.narrow(model, done[-1])
        else:
            narrow(model, self, done[-1], task)
        if self.rewind == "weights":
            rewind(model, task.dense_at(self.rewind_to))
        before = task.validate(model)
        if self.rewind == "none":
            task.finetune(model)
        else:
            task.finetune(model, full=True, start=self.rewind_to)
        gone = channels.gone(model) if channels else zero_share(list(weights(model, self.layers)))
        task.log(CompressionStep(len(done), steps, gone, before, task.validate(model)))
        return model

    def _gradually(self, model: GraphModule, task: Task) -> GraphModule:
        """Cubic: s(t) = s (1 - (1 - t)^3), t the share of the first three quarters that is done."""
        narrow(model, self, 0.0, task)  # what the pattern drops goes at once
        stored = list(weights(model, self.layers))
        slack = len(stored) * self.units().largest / sum(sizes_of(stored))  # budgets are rounded to whole units

        def at_step(done: float) -> None:
            tick = min(1.0, math.floor(done / _GRADUAL_UNTIL * _GRADUAL_STEPS) / _GRADUAL_STEPS)
            target = self.target * (1 - (1 - tick) ** 3)
            if zero_share(stored) + slack < target:
                model.eval()
                narrow(model, self, target, task)
                model.train()

        task.finetune(model, at_step=at_step)
        narrow(model.eval(), self, self.target, task)  # what rounding left, or all where nothing was trained
        # it prunes while it trains: there is no network that is pruned and not yet fine-tuned
        task.log(CompressionStep(1, 1, zero_share(stored), math.nan, task.validate(model)))
        return model

    def units(self) -> Pattern:
        return pattern_of(self.pattern, self.block)


_CHOICES: dict[str, tuple[str, ...]] = {
    "score": tuple(SCORES),
    "rates": (*_OF_RATES, *SCORES),
    "schedule": ("oneshot", "iterative", "gradual"),
    "preset": ("none", "lookahead"),
    "rewind": ("none", "rate", "weights"),
    "of": ("macs", "parameters", "channels"),
    "layers": ("all", "conv", "linear"),
}


def _silenced(model: GraphModule, task: Task) -> GraphModule:
    """The model without biases that nothing reads any more."""
    for images in task.calibration(1):
        silence(model, images[:1])
        break
    return model
