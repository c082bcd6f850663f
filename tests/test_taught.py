"""A teacher for any method that trains: the method knows nothing of it, and nothing of it is lost on the way."""

import dataclasses
import functools

import pytest
import torch

from baselines.errors import UsageError
from bench.grammar import Named, parse_chains
from bench.listing import methods_table
from methods import DCT, METHODS, PTQ, QAT, Distill, Ensemble, LowRank, Pipeline, Prune
from methods.base import Effect, Refused
from methods.distillation import Taught
from tests.contract import LAWS, Spy, breach, network, trial

TAUGHT = {
    "prune": Taught(Prune()),
    "qat": Taught(QAT(), loss="fitnet"),
    "dct": Taught(DCT(), teacher="input", loss="dkd"),
    "prune+qat": Pipeline((Taught(Prune(), teacher="input"), Taught(QAT()))),
    "after an ensemble": Pipeline((Ensemble(), Distill(teacher="input"), Taught(Prune(0.5), loss="dkd"))),
    "after another": Pipeline((Prune(), Distill(teacher="input"), Taught(Prune(0.5)))),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", TAUGHT)
def test_a_taught_method_keeps_every_law(name, law):
    assert breach(law, trial(TAUGHT[name])) == ""


@pytest.mark.parametrize("method", [Prune(0.5), QAT(), DCT(), LowRank()], ids=lambda one: type(one).__name__)
def test_a_teacher_changes_what_training_leads_to(method):
    plain, taught = (one.compress(network(), Spy().task()) for one in (method, Taught(method)))
    assert plain.state_dict().keys() == taught.state_dict().keys()
    assert any(not torch.equal(one, taught.state_dict()[name]) for name, one in plain.state_dict().items())


def test_what_the_method_says_of_its_training_reaches_the_task():
    seen = {}

    def finetune(model, **settings):
        seen.update(settings)
        return Spy().finetune(model)

    method = Prune(0.5, rewind="rate", rewind_to=0.5)
    Taught(method).compress(network(), dataclasses.replace(Spy().task(), finetune=finetune))
    assert {"full", "start", "objective"} <= seen.keys()
    assert (seen["full"], seen["start"]) == (True, 0.5)


def test_penalties_are_added_to_what_the_teacher_says():
    def spied(share):
        spy = Spy()

        def finetune(model, *, penalty=None, **settings):
            more = {} if penalty is None else {"penalty": lambda done: share * penalty(done)}
            return spy.finetune(model, **settings, **more)

        return Taught(Prune(0.5, score="variational")).compress(
            network(), dataclasses.replace(spy.task(), finetune=finetune)
        )

    with_penalty, without = spied(1.0), spied(0.0)
    assert not torch.equal(with_penalty.head.bias, without.head.bias)


def test_it_is_as_good_as_the_method_in_a_chain():
    assert Taught(Prune()).effect is Effect.ZEROS_WEIGHTS
    assert Taught(QAT()).epochs(5, 40) == QAT().epochs(5, 40)
    assert Taught(Prune(score="variational")).epochs(5, 40) == Prune(score="variational").epochs(5, 40)
    with pytest.raises(ValueError, match="cannot follow"):
        Pipeline((PTQ(), Taught(Prune())))
    with pytest.raises(ValueError, match="cannot follow"):
        Pipeline((Taught(QAT()), Prune()))


def test_first_steps_that_a_teacher_had_a_part_in_are_shared_with_no_others():
    keys = []

    def share(key, make):
        keys.append(key)
        return make()

    task = dataclasses.replace(Spy().task(), share=share)
    method = Prune(0.9, schedule="iterative")
    for one in (method, Taught(method), Taught(method, alpha=0.5), Taught(method, teacher="input")):
        one.compress(network(), task)
    assert len(set(keys)) == len(keys) > 4


def test_what_a_teacher_must_beat_is_the_method_without_one():
    assert Taught(QAT(), alpha=0.5).controls() == {"untaught": QAT()}
    found = Taught(Prune(0.8), alpha=0.5).controls()
    assert found["untaught"] == Prune(0.8)
    assert found["random"] == Taught(Prune(0.8, score="random", rates="magnitude"), alpha=0.5)


def test_a_method_with_an_objective_of_its_own_is_refused():
    with pytest.raises(Refused, match="Distill has an objective of its own"):
        Taught(Distill(teacher="input")).compress(network(), Spy().task())


def test_what_does_not_train_takes_no_teacher():
    with pytest.raises(ValueError, match="does not train"):
        Taught(PTQ())


# On the command line

parse = functools.partial(parse_chains, methods=METHODS)


def test_settings_of_a_teacher_wrap_any_method_that_trains():
    (chain,) = parse("prune:teacher=dense:sparsity=0.8:temperature=2+qat:alpha=0.5")
    assert [one.method for one in chain.stages] == [
        Taught(Prune(0.8), temperature=2.0),
        Taught(QAT(), alpha=0.5),
    ]
    assert chain.label == "prune:teacher=dense:sparsity=0.8:temperature=2+qat:alpha=0.5"


def test_the_text_tells_of_a_teacher_where_there_is_one_and_only_there():
    (plain,) = parse("prune:sparsity=0.8")
    (taught,) = parse("prune:sparsity=0.8:alpha=0.9")
    assert "teacher" not in plain.text
    assert taught.text == f"{plain.text}:teacher=dense:loss=kd:alpha=0.9:temperature=4.0:beta=None"
    assert parse(taught.text)[0].text == taught.text


def test_settings_of_a_teacher_make_sweeps():
    chains = parse("prune:sparsity=0.5/0.8:alpha=0.1/0.9")
    assert [(one.stages[0].method.method.sparsity, one.stages[0].method.alpha) for one in chains] == [
        (0.5, 0.1), (0.5, 0.9), (0.8, 0.1), (0.8, 0.9),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("ptq:teacher=dense", "ptq:teacher=dense: it does not train"),
        ("prune:teacher=dense:alpha=2", r"alpha must be in \[0, 1\], got 2.0"),
        ("prune:loss=none", "loss=none has no teacher"),
        ("prune:techer=dense", "did you mean 'teacher'"),
        ("prune+distill", "distill cannot come after prune, it would start from another network"),
    ],
)
def test_mistakes_are_told_in_one_line(typed, says):
    with pytest.raises(UsageError, match=says) as caught:
        parse(typed)
    assert "\n" not in str(caught.value)


def test_names_of_networks_stand_for_what_the_harness_says():
    def networks(text, trained):
        if text == "nowhere":
            raise UsageError("unknown network 'nowhere'")
        return (Named(text),) if trained else (Named("a:b=1"), Named(text, "hash"))

    first, second = parse("distill:student='x:y':teacher=t", networks=networks)
    assert [one.stages[0].method.student for one in (first, second)] == ["a:b=1", "x:y"]
    assert first.label == "distill:student='a:b=1':teacher=t"
    assert [one.stages[0].contents for one in (first, second)] == [(), ("student hash",)]
    assert "student='a:b=1'" in first.text
    with pytest.raises(UsageError, match="distill:teacher: unknown network 'nowhere'"):
        parse("distill:teacher=nowhere", networks=networks)


@pytest.mark.parametrize(
    "typed", ["distill:student='student:widths=8-16:hidden=3'+prune", 'distill:teacher="a/b+c.nnc"']
)
def test_canonical_text_can_be_typed(typed):
    (chain,) = parse(typed)
    assert parse(chain.text)[0] == dataclasses.replace(
        chain, stages=tuple(dataclasses.replace(one, label=one.text) for one in chain.stages)
    )


def test_the_list_tells_that_any_method_that_trains_takes_a_teacher():
    table = methods_table(METHODS)
    shown = [list(column.cells) for column in table.columns]
    start = next(index for index, name in enumerate(shown[0]) if "any that trains" in name)
    assert shown[1][start].startswith("A teacher in the trainings")
    assert shown[1][start + 1 :] == ["teacher", "loss", "alpha", "temperature", "beta"]
