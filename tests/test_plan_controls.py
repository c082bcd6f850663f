"""Rows that a plan adds: which controls there are, of what, how many at most, and orders with their reasons."""

import dataclasses
import itertools

import pytest

from baselines.training import Recipe
from bench.chains import Chain, impossible, stage_of
from bench.controls import controls_of, orders_of
from bench.estimate import Sizes, cached, plan_seconds
from bench.grammar import parse_chains
from bench.plan import make_plan
from methods import METHODS
from tests.test_plan import SOURCE

RECIPE = Recipe(epochs=30, finetune_epochs=4)
SIZES = Sizes(10**7, 50_000, 1_000, False)


def chains(typed):
    return parse_chains(typed, METHODS)


def rows_of(typed, methods=METHODS):
    return controls_of(chains(typed), methods, RECIPE)


def labels(typed, role):
    return [row.chain.label for row in rows_of(typed)[0] if row.role == role]


def plan(typed, seeds=(0,), controls=True, orders=False, source=SOURCE):
    asked = chains(typed)
    added = (*(orders_of(asked) if orders else ()), *(rows_of(typed)[0] if controls else ()))
    return make_plan(source, asked, added=added, seeds=seeds, runtimes=("eager",), threads=1, command="typed")


def test_a_pruned_row_has_every_control_that_applies():
    found = {row.role: row for row in rows_of("prune:sparsity=0.9")[0]}
    assert [row.chain.label for row in found.values()] == [
        "longer:extra=4", "small:like='prune:sparsity=0.9'", "half", "xz",
        "prune:sparsity=0.9:score=random:rates=magnitude",
    ]  # fmt: skip
    assert list(found) == ["longer", "small", "half", "xz", "random"]
    (asked,) = chains("prune:sparsity=0.9")
    assert all(row.control_of == (asked.text,) for row in found.values())


@pytest.mark.parametrize("typed", ["prune:sparsity=0.5/0.9+qat,distill+ptq", "ensemble:of='prune,half',dct"])
def test_labels_read_back_as_the_rows_that_they_name(typed):
    for row in rows_of(typed)[0]:
        (again,) = chains(row.chain.label)
        assert again.text == row.chain.text


def test_what_was_asked_for_stays_so_and_nothing_is_twice():
    typed = "half,xz,prune:sparsity=0.8,prune:sparsity=0.8+ptq,ptq,prune:sparsity=0.8:score=random:rates=magnitude"
    cases = plan(typed, orders=True).cases
    assert len({case.id for case in cases}) == len(cases)
    asked = [case for case in cases if case.role == "asked"]
    assert [case.label for case in asked] == ["dense", *(chain.label for chain in chains(typed))]
    assert not [case.label for case in cases if case.role in ("half", "xz", "part")]


def test_a_control_of_two_rows_is_one_row_that_belongs_to_both():
    rows, _ = rows_of("prune:sparsity=0.8+ptq,prune:sparsity=0.8+qat")
    (part,) = (row for row in rows if row.chain.label == "prune:sparsity=0.8")
    assert part.control_of == tuple(chain.text for chain in chains("prune:sparsity=0.8+ptq,prune:sparsity=0.8+qat"))
    assert labels("prune:sparsity=0.8+ptq,prune:sparsity=0.8+qat", "part") == ["prune:sparsity=0.8", "ptq", "qat"]


def test_a_row_that_is_two_things_belongs_to_no_chain_in_a_role_that_it_has_not_there():
    """qat is the first chain's row without its teacher and a part of the second, which has no teacher."""
    taught, chain = chains("qat:teacher=dense,prune:sparsity=0.8+qat")
    (row,) = [one for one in controls_of((taught, chain), METHODS, RECIPE)[0] if one.chain.label == "qat"]
    assert (row.role, row.control_of) == ("untaught", (taught.text,))


def test_controls_run_in_the_first_runtime_and_parts_in_all():
    asked = chains("prune:sparsity=0.8+ptq")
    made = make_plan(SOURCE, asked, added=rows_of("prune:sparsity=0.8+ptq")[0], seeds=(0,),
                     runtimes=("eager", "openvino"), threads=1, command="typed")  # fmt: skip
    runtimes = {case.role: case.runtimes for case in made.cases}
    assert runtimes["asked"] == runtimes["part"] == ("eager", "openvino")
    assert {runtimes[role] for role in ("longer", "small", "half", "xz", "random")} == {("eager",)}


def test_a_changed_teacher_changes_nothing_of_the_row_without_it():
    """Both the student's file and the teacher's, of which only the student's is the control's."""
    (chain,) = chains("distill:teacher='a.nnc':student='b.py:net'")
    (typed,) = chains("distill:student='b.py:net':loss=none")
    ids = set()
    for teacher in ("one", "two"):
        stage = dataclasses.replace(chain.stages[0], contents=("student s", f"teacher {teacher}"))
        rows, _ = controls_of([Chain((stage,))], METHODS, RECIPE)
        (untaught,) = (row.chain.stages[0] for row in rows if row.role == "untaught")
        assert untaught.contents == ("student s",)
        ids.add(SOURCE.stage_id("before", untaught, 0))
    ids.add(SOURCE.stage_id("before", dataclasses.replace(typed.stages[0], contents=("student s",)), 0))
    assert len(ids) == 1
    (taught,) = chains("qat:teacher='a.nnc'")
    stage = dataclasses.replace(taught.stages[0], contents=("teacher one",))
    rows, _ = controls_of([Chain((stage,))], METHODS, RECIPE)
    assert [row.chain.stages[0].contents for row in rows if row.role == "untaught"] == [()]


def test_longer_takes_the_smallest_the_commonest_and_the_largest_number_of_epochs():
    typed = "ptq,prune,dct,prune+qat,prune:sparsity=0.9:schedule=iterative,ensemble"
    assert labels(typed, "longer") == ["longer:extra=4", "longer:extra=60"]
    typed += ",prune:sparsity=0.5+qat,prune:sparsity=0.6+qat"
    assert labels(typed, "longer") == ["longer:extra=4", "longer:extra=8", "longer:extra=60"]
    assert labels("ptq,half", "longer") == []


@pytest.mark.parametrize(
    ("typed", "epochs"),
    [
        ("ptq", 0),
        ("prune+qat", 8),
        ("ensemble", 60),  # two more dense networks
        ("ensemble:of='dense,prune':seeds=2", 30 + 4 + 4),  # the dense network of the second seed once
        ("ensemble:of='prune+ptq,prune+qat'", 4 + 4),  # what both begin with once
        ("ensemble:of='dense,prune':seeds=1+qat", 8),
        ("ensemble:of=\"ensemble:of='dense,prune',qat\"", 8),
        ("longer:extra=7", 7),
        ("small", 30),
    ],
)
def test_epochs_of_the_networks_that_a_method_takes_count_once(typed, epochs):
    (chain,) = chains(typed)
    assert chain.epochs(4, 30) == epochs


def test_of_many_rows_some_get_controls_spread_evenly_and_a_line_says_so():
    shares = "/".join(str(percent / 100) for percent in range(50, 90, 2))
    rows, said = rows_of(f"prune:sparsity={shares}")
    by_role = {role: [row for row in rows if row.role == role] for role in ("small", "random")}
    assert {role: len(some) for role, some in by_role.items()} == {"small": 4, "random": 12}
    for some in by_role.values():
        at = [float(row.control_of[0].split("sparsity=")[1].split(":")[0]) for row in some]
        assert (at[0], at[-1]) == (0.5, 0.88)
        steps = [later - earlier for earlier, later in itertools.pairwise(at)]
        assert max(steps) - min(steps) < 0.0201
    assert len(said) == 2
    assert all("spread evenly" in line and "\n" not in line for line in said)
    assert rows_of("prune:sparsity=0.5/0.6")[1] == []


def test_what_serves_several_rows_is_not_left_out():
    shares = "/".join(str(percent / 100) for percent in range(50, 90, 2))
    parts = labels(f"prune:sparsity={shares}+ptq", "part")
    assert len(parts) == 12
    assert {"ptq", "prune:sparsity=0.5", "prune:sparsity=0.88"} <= set(parts)


def test_where_the_dense_network_is_not_trained_here_there_is_no_small_one():
    rows, said = controls_of(chains("prune"), METHODS, dataclasses.replace(RECIPE, epochs=0))
    assert "small" not in {row.role for row in rows}
    assert ["no epochs to train it" in line for line in said] == [True]


def test_controls_come_after_everything_that_was_asked_for_and_for_every_seed():
    cases = plan("prune", seeds=(0, 7)).cases
    roles = [case.role for case in cases]
    assert roles == ["asked"] * 4 + ["longer", "small", "half", "xz", "random"] * 2
    assert [case.seed for case in cases] == [0, 0, 7, 7] + [0] * 5 + [7] * 5


def test_a_role_is_no_part_of_the_id():
    (case,) = (one for one in plan("prune").cases if one.role == "half")
    assert case.id == dataclasses.replace(case, role="asked", control_of=()).id
    assert case.id == plan("half", controls=False).cases[1].id


def test_a_table_without_controls_gives_none_of_them():
    few = {name: METHODS[name] for name in ("prune", "ptq")}
    rows, _ = controls_of(parse_chains("prune+ptq", few), few, RECIPE)
    assert {row.role for row in rows} == {"random", "part"}


def test_an_untaught_student_begins_where_the_taught_one_does():
    (row,) = (row for row in rows_of("ensemble:seeds=2+distill:teacher=input+prune")[0] if row.role == "untaught")
    assert [stage.name for stage in row.chain.stages] == ["distill", "prune"]
    assert row.refusal == ""


def test_orders_are_all_permutations_each_once_and_the_impossible_have_their_reason():
    asked = chains("dct+prune+ptq,prune+ptq,ptq")
    found = orders_of(asked)
    assert len(found) == 5 + 1
    assert len({row.chain.text for row in found}) == 6
    assert {row.role for row in found} == {"order"}
    for row in found:
        assert row.refusal == (impossible(row.chain) or "")
        assert "cannot come after" in row.refusal
    both = orders_of(chains("prune:pattern=channels+prune:sparsity=0.5,longer+half"))
    assert [row.refusal == "" for row in both] == [False, False]


def test_an_order_that_works_is_a_row_to_run():
    (row,) = orders_of(chains("prune:pattern=channels+prune:pattern=channels:sparsity=0.2"))
    assert (row.refusal, row.chain.label) == ("", "prune:pattern=channels:sparsity=0.2+prune:pattern=channels")


def test_refused_orders_cost_nothing_and_need_nothing():
    made = plan("prune+ptq", controls=False, orders=True)
    refused = made.cases[-1]
    assert (refused.role, refused.label) == ("order", "ptq+prune")
    assert plan_seconds(made, SIZES, set(), set())[refused.id] == 0
    asked = []
    cached(make_plan_of(refused), SIZES, lambda stage: bool(asked.append(stage)))
    assert asked == []


def make_plan_of(case):
    return dataclasses.replace(plan("prune"), cases=(case,))


def test_members_are_estimated_once_and_not_at_all_where_the_ensemble_is_there():
    made = plan("ensemble:of='dense,prune':seeds=2,prune", controls=False)
    dense, ensemble, pruned = made.cases
    seconds = plan_seconds(made, SIZES, set(), set())
    recipe, measuring = SOURCE.recipe, SIZES.measure_s(1)
    training, tuning = SIZES.train_s(recipe.epochs), SIZES.train_s(recipe.finetune_epochs)
    assert seconds[dense.id] == pytest.approx(training + measuring)
    assert seconds[ensemble.id] == pytest.approx(training + 2 * tuning + SIZES.train_s(0) + measuring)
    assert seconds[pruned.id] == pytest.approx(measuring)
    there = {dense.stage_ids[0], ensemble.stage_ids[1]}
    again = plan_seconds(made, SIZES, there, set())
    assert again[ensemble.id] == pytest.approx(measuring)
    assert cached(made, SIZES, there.__contains__) == there


def test_the_id_of_an_ensemble_hangs_on_what_its_members_hang_on():
    (member,) = chains("distill")
    ids = set()
    for content in ("", "hash of a file", "of another"):
        stage = dataclasses.replace(member.stages[0], contents=(content,) if content else ())
        ensemble = stage_of("ensemble", METHODS["ensemble"](of=member.text), Chain((stage,)))
        ids.add(SOURCE.stage_id("before", ensemble, 0))
    assert len(ids) == 3
