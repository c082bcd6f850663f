"""Every score, pattern, schedule and rate of pruning keeps the laws of methods."""

import pytest

from methods.pruning import Prune
from methods.pruning.scores import SCORES, TRAINING
from tests.contract import BUDGET, LAWS, breach, stays_within_the_budget, trial

CHOICES = {
    **{f"score={name}": Prune(score=name) for name in SCORES if name not in TRAINING},
    **{f"pattern={name}": Prune(pattern=name) for name in ("2of4", "1of4", "block")},
    "schedule=gradual": Prune(schedule="gradual"),
    **{f"rates={name}": Prune(rates=name) for name in ("normalized", "uniform", "random")},
    "lookahead_backward, gradual, in blocks": Prune(score="lookahead_backward", schedule="gradual", pattern="block"),
    "lookahead_forward, normalized": Prune(score="lookahead_forward", rates="normalized"),
    "preset=lookahead": Prune(0.5, score="lookahead", preset="lookahead"),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_keeps_every_law(name, law):
    assert breach(law, trial(CHOICES[name])) == ""


STEPS = {
    "schedule=iterative": (Prune(0.9, schedule="iterative"), 4),
    "lookahead_forward, iterative": (Prune(0.5, schedule="iterative", step=0.3, score="lookahead_forward"), 2),
    "rewind=rate": (Prune(rewind="rate"), 1),
    **{f"score={name}": (Prune(score=name), 2) for name in TRAINING},
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", STEPS)
def test_what_trains_more_than_once_keeps_every_law_with_a_budget_for_each_time(name, law):
    method, steps = STEPS[name]
    run = trial(method)
    if law is stays_within_the_budget:
        assert (len(run.spy.calls), run.spy.steps) == (steps, steps * BUDGET)
    else:
        assert breach(law, run) == ""
