"""The self-check: a run that meets every demand, and for each demand the same run made to miss it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from bench.records import Accuracy, RunRecord
from reports.checklist import DEMANDS, Item, checklist, score
from reports.checklist_page import checklist_section
from reports.page import page
from tests.controls_example import row, sized

CLASSES = tuple(f"class {number}" for number in range(100))
PLACES = (("lenet", "digits"), ("vgg", "digits"), ("resnet8", "cifar10"))
Change = Callable[[RunRecord], RunRecord | None]


def full(seeds: tuple[int, ...] = (0, 1, 2)) -> list[RunRecord]:
    """A run on three pairs that meets every demand."""
    records = []
    for net, dataset in PLACES:
        for seed in seeds:
            its = [sized(row("dense", 9700, seed=seed), 1_000_000)]
            began = its[0].training
            for step, sparsity in enumerate((0.5, 0.75, 0.9, 0.95, 0.98)):
                size = round(1_050_000 * (1 - sparsity))
                for kind in ("magnitude", "lookahead"):
                    chain = f"prune:sparsity={sparsity}:score={kind}:rates=global"
                    its.append(sized(row(chain, 9700 - 100 * step, seed=seed), size))
                    control = f"prune:sparsity={sparsity}:score=random:rates={kind}"
                    its.append(sized(row(control, 9000, seed=seed, role="random", of=[chain]), size))
                its.append(sized(row(f"dct:keep={1 - sparsity}", 9600 - 100 * step, seed=seed), size))
            its.append(sized(row("prune:sparsity=0.9:score=random:rates=global", 9000, seed=seed), 105_000))
            its.append(sized(row("prune:sparsity=0.9:score=magnitude:rates=lookahead", 9200, seed=seed), 105_000))
            records += [
                dataclasses.replace(
                    one,
                    net=net,
                    dataset=dataset,
                    class_names=CLASSES,
                    training=one.training if one.chain == "dense" else (*began, *one.training),
                )
                for one in its
            ]
    return records


def changed(records: list[RunRecord], change: Change) -> list[RunRecord]:
    return [new for one in records if (new := change(one)) is not None]


def item(records: list[RunRecord], words: str) -> Item:
    (found,) = [one for one in checklist(records) if words in one.demand]
    return found


def drop(*words: str) -> Change:
    return lambda one: None if any(word in one.chain for word in words) else one


def pruned_less(one: RunRecord) -> RunRecord:
    """Files that differ less."""
    return one if one.chain == "dense" else sized(one, 400_000 + one.file_bytes // 2)


def never_far(one: RunRecord) -> RunRecord:
    return scored(one, 9650) if one.chain != "dense" else one


def scored(one: RunRecord, correct: int, top5: int | None = None) -> RunRecord:
    accuracy = Accuracy(correct, correct if top5 is None else top5, 10_000)
    return dataclasses.replace(one, runtimes=tuple(dataclasses.replace(r, accuracy=accuracy) for r in one.runtimes))


def unscored(one: RunRecord) -> RunRecord:
    """One row of one seed has no accuracy."""
    if one.chain != "dct:keep=0.5" or one.seed:
        return one
    return dataclasses.replace(one, runtimes=tuple(dataclasses.replace(r, accuracy=None) for r in one.runtimes))


def only_first(one: RunRecord) -> RunRecord:
    return scored(one, one.runtimes[0].accuracy.correct, 0) if one.runtimes[0].accuracy else one


def another_start(one: RunRecord) -> RunRecord:
    if one.chain != "dct:keep=0.5":
        return one
    first, *rest = one.training
    return dataclasses.replace(one, training=(dataclasses.replace(first, train_loss=first.train_loss + 1), *rest))


def environment(**facts: object) -> Change:
    def change(one: RunRecord) -> RunRecord:
        odd = one.chain == "dct:keep=0.5"
        return dataclasses.replace(one, environment=one.environment | facts) if odd else one

    return change


BREAKS: dict[str, Change] = {
    "compression ratios above 1": pruned_less,
    "up to ratios": never_far,
    "trade-off curves": drop("sparsity=0.5:", "sparsity=0.75:", "sparsity=0.98:"),
    "raw accuracies": unscored,
    "both compression ratio": lambda one: dataclasses.replace(one, macs=0) if one.chain == "dct:keep=0.5" else one,
    "top-1 and top-5": only_first,
    "same initial checkpoint": another_start,
    "seeds or more": lambda one: None if one.chain == "dct:keep=0.5" and one.seed == 1 else one,
    "mean and standard deviation": lambda one: None if one.chain == "dct:keep=0.5" and one.seed else one,
    "random pruning at the same layer-wise rates": drop("sparsity=0.5:score=random:rates=lookahead"),
    "random pruning, global": drop("score=random:rates=global"),
    "magnitude pruning, global": drop("score=magnitude:rates=global"),
    "magnitude pruning at the same": drop("score=magnitude:rates=lookahead"),
    "pairs of a network": lambda one: None if one.net == "vgg" else one,
    "training described": lambda one: dataclasses.replace(one, recipe={}) if one.chain == "dct:keep=0.5" else one,
    "libraries and hardware": lambda one: dataclasses.replace(one, environment={}) if one.seed == 2 else one,
    "identical code": environment(commit="another"),
    "each result can be had": lambda one: dataclasses.replace(one, sha256="") if one.chain == "dct:keep=0.5" else one,
}  # fmt: skip


def test_a_run_may_meet_every_demand() -> None:
    items = checklist(full())
    assert [one.demand for one in items if not one.passed] == []
    assert score(items) == (len(DEMANDS), len(DEMANDS))


@pytest.mark.parametrize("words", BREAKS)
def test_each_demand_can_be_missed(words: str) -> None:
    records = full()
    assert item(records, words).passed is True
    assert item(changed(records, BREAKS[words]), words).passed is False


@pytest.mark.parametrize("rates", ["global", "magnitude"])
def test_pruning_at_random_is_not_how_far_a_method_goes(rates: str) -> None:
    near = [row("dense", 9700), row("prune:sparsity=0.5:score=magnitude:rates=global", 9650)]
    chance = row(f"prune:sparsity=0.5:score=random:rates={rates}+ptq:bits=8", 1000)
    found = item([*near, chance], "up to ratios")
    assert found.passed is False
    assert "0.50 points" in found.evidence
    assert item([*near, row("dct:keep=0.1", 1000)], "up to ratios").passed is True


def test_random_pruning_at_its_own_rates_does_not_meet_the_demand_of_the_same_rates() -> None:
    pruned = row("prune:sparsity=0.5:score=magnitude:rates=global", 9650)
    free = row("prune:sparsity=0.5:score=random:rates=global", 9000)
    same = row("prune:sparsity=0.5:score=random:rates=magnitude", 9000)
    assert item([row("dense", 9700), pruned, free], "random pruning at the same").passed is False
    assert item([row("dense", 9700), pruned, free, same], "random pruning at the same").passed is True


def test_there_is_a_test_of_each_demand() -> None:
    assert len(BREAKS) == len(DEMANDS)
    assert all(sum(words in demand for demand in DEMANDS) == 1 for words in BREAKS)


def test_a_missing_dense_network_is_no_common_start() -> None:
    records = changed(full(), lambda one: None if one.chain == "dense" and one.seed == 1 else one)
    for words in ("raw accuracies", "same initial checkpoint"):
        assert item(records, words).passed is False
    assert "lenet on digits, seed 1" in item(records, "raw accuracies").evidence


def test_what_does_not_apply_is_neither_passed_nor_missed() -> None:
    records = changed(full(), drop("prune"))
    apply = {one.demand: one.passed for one in checklist(records)}
    assert [demand for demand, passed in apply.items() if passed is None] == [d for d in DEMANDS if "pruning" in d]
    few = changed(full(), lambda one: dataclasses.replace(one, class_names=CLASSES[:10]))
    assert item(few, "top-1").passed is None
    unknown = changed(full(), lambda one: dataclasses.replace(one, class_names=()))
    assert item(unknown, "top-1").passed is None
    assert [demand for demand, passed in apply.items() if passed is False] == [d for d in DEMANDS if "trade-off" in d]
    assert score(checklist(records)) == (len(DEMANDS) - 5, len(DEMANDS) - 4)


def test_magnitude_alone_needs_no_magnitude_at_other_rates() -> None:
    records = changed(full(), drop("lookahead"))
    assert item(records, "magnitude pruning at the same").passed is None
    assert item(records, "random pruning at the same").passed is True


def test_five_rows_of_a_score_with_random_ones_are_enough() -> None:
    chain = "prune:sparsity=0.99:score=magnitude:rates=global"
    more = [
        dataclasses.replace(row(chain, 9000, seed=seed), net=net, dataset=data)
        for net, data in PLACES
        for seed in (0, 1, 2)
    ]
    assert item([*full(), *more], "random pruning at the same").passed is True


def test_evidence_is_told_in_words() -> None:
    evidence = item(full(), "compression ratios above 1").evidence
    assert evidence.startswith("lenet on digits: 5 ratios: 1.90×, 3.81×, 9.52×")
    seeds = item(changed(full(), BREAKS["seeds or more"]), "seeds or more").evidence
    assert "fewer than 3 of dct:keep=0.5" in seeds


def test_files_larger_than_dense_are_no_compression() -> None:
    larger = [dataclasses.replace(one, file_bytes=1_000_000 + one.file_bytes) if one.chain != "dense" else one
              for one in full()]  # fmt: skip
    found = item(larger, "compression ratios above 1")
    assert found.passed is False
    assert "0 ratios: none" in found.evidence


def test_nothing_measured_passes_nothing() -> None:
    assert [one.demand for one in checklist([]) if one.passed] == []


def test_the_page_ends_with_the_check_and_counts_it() -> None:
    text = page(full((0,)), title="t", command="c")
    section = text.split("\n## ")[-1]
    assert section.startswith("Self-check")
    passed, of = score(checklist(full((0,))))
    assert f"This report passes {passed} of {of}." in section
    assert passed < of
    assert checklist_section(full()).count("| passed |") == len(DEMANDS)
