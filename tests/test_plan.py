"""Ids of cases: they change with everything a result depends on, and with nothing else."""

import dataclasses

import pytest

from baselines.training import Recipe
from bench.estimate import Sizes, plan_seconds
from bench.grammar import parse_chains
from bench.plan import Source, make_plan
from methods import METHODS

SOURCE = Source(
    net={"spec": "lenet", "pretrained": False, "weights": "", "file": ""},
    data={"title": "digits", "classes": ["0", "1"], "shape": [1, 16, 16], "parts": {"train": 2}, "norm": [0.5, 0.25]},
    recipe=Recipe(),
    device="cpu",
)


TWO_CHAINS = "prune:sparsity=0.5,prune:sparsity=0.5+ptq"


def plan(source=SOURCE, methods=TWO_CHAINS, seeds=(0,), runtimes=("eager",), threads=1):
    chains = parse_chains(methods, METHODS)
    return make_plan(source, chains, seeds=seeds, runtimes=runtimes, threads=threads, command="typed")


def ids(**changes):
    return [case.id for case in plan(**changes).cases]


def test_the_dense_network_comes_before_the_chains_on_it():
    cases = plan(seeds=(0, 7)).cases
    assert [(case.label, case.seed) for case in cases] == [
        (label, seed) for seed in (0, 7) for label in ("dense", "prune:sparsity=0.5", "prune:sparsity=0.5+ptq")
    ]
    assert len({case.id for case in cases}) == len(cases)


def test_chains_share_the_stages_they_begin_with():
    dense, pruned, chained = (case.stage_ids for case in plan().cases)
    assert pruned[:1] == dense
    assert chained[:2] == pruned
    assert len({*dense, *pruned, *chained}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"source": dataclasses.replace(SOURCE, net={**SOURCE.net, "spec": "lenet300"})},
        {"source": dataclasses.replace(SOURCE, net={**SOURCE.net, "weights": "ab"})},
        {"source": dataclasses.replace(SOURCE, data={**SOURCE.data, "norm": [0.5, 0.26]})},
        {"source": dataclasses.replace(SOURCE, device="cuda")},
        {"source": dataclasses.replace(SOURCE, device="cpu x2")},
        {"seeds": (1,)},
        {"runtimes": ("eager", "onnxruntime")},
        {"threads": 2},
        *(
            {"source": dataclasses.replace(SOURCE, recipe=dataclasses.replace(SOURCE.recipe, **{name: value}))}
            for name, value in {"epochs": 77, "batch_size": 77, "lr": 0.77, "weight_decay": 0.077}.items()
        ),
    ],
)
def test_every_change_that_matters_changes_every_id(change):
    assert not set(ids()) & set(ids(**change))


def test_a_dense_network_that_is_cached_is_found_by_the_code_of_today():
    """Ids as they were before several processes could train together: of one process they stay."""
    assert (SOURCE.dense_id(0), SOURCE.dense_id(7)) == ("d45fed585364ab44", "72b1d76d285dd205")


def test_a_hyperparameter_changes_only_its_own_chains():
    before, after = ids(), ids(methods="prune:sparsity=0.6,prune:sparsity=0.5+ptq")
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[2] == after[2]


def test_the_finetuning_budget_leaves_the_dense_network_as_it_is():
    recipe = dataclasses.replace(SOURCE.recipe, finetune_epochs=99)
    other = plan(source=dataclasses.replace(SOURCE, recipe=recipe)).cases
    assert other[0].stage_ids == plan().cases[0].stage_ids
    assert other[1].id != plan().cases[1].id


def test_time_is_estimated_for_what_trains_and_for_stages_once():
    made = plan(methods="qat,ptq,half,prune+ptq")
    seconds = plan_seconds(made, Sizes(10**7, 50_000, 1_000, False), set(), set())
    dense, qat, ptq, half, chain = (seconds[case.id] for case in made.cases)
    assert ptq == half < 0.1 * qat < qat < dense
    assert qat <= chain < qat + 2
