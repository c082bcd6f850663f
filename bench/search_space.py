"""Where a search looks: chains of methods in rising order of effect, and the strengths that they leave open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from baselines.errors import UsageError
from bench.grammar import Chain, Methods
from bench.matching import free_strength
from methods.base import Effect

Parse = Callable[[str], Chain]  # one chain as typed; raises UsageError
# What may come in turn; of each at most one method. Another network, fewer channels and other layers are alternatives.
_SLOTS: Mapping[str, tuple[Effect, ...]] = {
    "structure": (Effect.MAKES_NETWORK, Effect.REMOVES_CHANNELS, Effect.REPLACES_LAYERS),
    "zeros": (Effect.ZEROS_WEIGHTS,),
    "precision": (Effect.LOWERS_PRECISION,),
}


class Suggests(Protocol):
    """What of an `optuna.Trial` is used here."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float) -> float: ...
    def suggest_int(self, name: str, low: int, high: int) -> int: ...


@dataclass(frozen=True)
class Space:
    """Chains to choose from: one of `chains`, or for each slot nothing or one of its stages, joined.

    slots: stages by the name of their slot, in the order of a chain.
    """

    slots: Mapping[str, tuple[str, ...]]
    chains: tuple[str, ...] = ()

    def suggest(self, trial: Suggests, parse: Parse) -> str:
        """A chain as it is typed, with a value for each open strength.

        Raises:
            UsageError: the stages do not go together.
        """
        if self.chains:
            text = trial.suggest_categorical("chain", self.chains)
        else:
            text = "+".join(
                trial.suggest_categorical(slot, stages)
                for slot, stages in self.slots.items()
                if trial.suggest_categorical(f"with {slot}", (True, False))
            )
        if not text:
            raise UsageError("no method at all is the dense network")
        chain = parse(text)
        return "+".join(f"{stage.label}{_setting(trial, stage.label, stage)}" for stage in chain.stages)


def _setting(trial: Suggests, name: str, stage: Any) -> str:
    strength = free_strength(stage)
    if strength is None:
        return ""
    if strength.whole:
        least, most = sorted((round(strength.weakest), round(strength.strongest)))
        return f":{strength.field}={trial.suggest_int(f'{name} {strength.field}', least, most)}"
    return f":{strength.field}={strength.at(trial.suggest_float(f'{name} {strength.field}', 0.0, 1.0))}"


def space_of(methods: Methods, parse: Parse) -> Space:
    """All methods of the table that have a slot, with the variants that they say are worth a try; those that cannot be
    here are left out."""
    slots: dict[str, list[str]] = {slot: [] for slot in _SLOTS}
    for name, kind in methods.items():
        for variant in kind.variants:
            text = ":".join(filter(None, (name, variant)))
            try:
                effect = parse(text).stages[0].method.effect
            except UsageError:  # a student that is too deep for these images
                continue
            for slot, effects in _SLOTS.items():
                if effect in effects:
                    slots[slot].append(text)
    return Space({slot: tuple(texts) for slot, texts in slots.items() if texts})
