"""Distillation: students that learn from whatever teacher is named, and where in a chain they can stand."""

import dataclasses
import importlib.util

import pytest
import torch

from methods import METHODS, PTQ, Distill, Pipeline, Prune
from methods.base import Effect, Refused, standing
from methods.distillation.teaching import OF_LOGITS
from tests.contract import SHAPE, Spy, network
from tests.drawing import drawn

# The method


class Schoolmaster(Spy):
    """Remembers what was asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.settings = {}

    def task(self, seed=3):
        def finetune(model, **settings):
            self.settings = settings
            return Spy.finetune(self, model, **settings)

        def known(name):
            self.asked.append(name)
            return network()

        return dataclasses.replace(Spy.task(self, seed), finetune=finetune, network=known)


def test_the_student_is_trained_as_the_dense_network_was():
    spy = Schoolmaster()
    method = Distill(student="student4", teacher="resnet8", subset=0.25, augment=False)
    student = method.compress(network(), spy.task())
    assert spy.asked == ["resnet8"]
    assert (spy.settings["full"], spy.settings["subset"], spy.settings["augment"]) == (True, 0.25, False)
    assert hasattr(student, "conv1")
    assert method.epochs(finetune_epochs=5, dense_epochs=40) == 40


def test_without_a_teacher_nobody_is_asked_and_the_labels_are_what_is_learnt():
    spy = Schoolmaster()
    Distill(loss="none").compress(network(), spy.task())
    assert (spy.asked, spy.settings["objective"]) == ([], None)


def test_the_network_that_comes_in_may_be_the_teacher():
    spy, model = Schoolmaster(), network()
    Distill(teacher="input").compress(model, spy.task())
    assert spy.asked == []
    assert spy.settings["objective"].teacher is model


def test_the_teacher_makes_a_difference():
    weights = [Distill(loss=loss).compress(network(), Spy().task()).head.weight for loss in ("kd", "none", "dkd")]
    assert not any(torch.equal(one, two) for one, two in ((weights[0], weights[1]), (weights[0], weights[2])))


@pytest.mark.parametrize("settings", [{"loss": "at", "beta": 5.0}, {"alpha": 0.2, "temperature": 9.0}])
def test_what_a_student_must_beat_is_itself_without_a_teacher_whatever_is_copied(settings):
    asked = Distill("student4", "resnet8", subset=0.5, augment=False, dropout=0.1, **settings)
    (control,) = asked.controls().values()
    assert control == Distill("student4", loss="none", subset=0.5, augment=False, dropout=0.1)
    assert control.controls() == {}
    (after,) = dataclasses.replace(asked, teacher="input").controls().values()
    assert Pipeline((Prune(), after))


def test_dropout_is_that_of_the_student():
    student = Distill(dropout=0.4).compress(network(), Spy().task())
    assert student.dropout.p == 0.4
    bare = dataclasses.replace(Spy().task(), build=lambda name: network())
    with pytest.raises(Refused, match=r"has no dropout layers, so dropout=0.4 would change nothing"):
        Distill(dropout=0.4).compress(network(), bare)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss": "hinton"}, "loss must be one of kd, dkd"),
        ({"alpha": 1.5}, "alpha must be in .0, 1., got 1.5"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"beta": 3.0}, "beta=3.0 would change nothing with loss=kd"),
        ({"subset": 0.0}, "subset must be a share"),
        ({"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        Distill(**settings)


def test_a_missing_library_is_a_reason(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for loss in ("at", "rkd", "dist"):
        assert "needs the package torchdistill" in Distill(loss=loss).unsupported(network())
        with pytest.raises(Refused, match="torchdistill"):
            Distill(loss=loss).compress(network(), Spy().task())
    assert [Distill(loss=loss).unsupported(network()) for loss in ("kd", "dkd", "fitnet", "none")] == [None] * 4


# Chains


def test_a_student_drops_what_was_done_unless_it_learns_from_it():
    with pytest.raises(ValueError, match=r"drop what had been done \(with teacher=input it learns from it\)"):
        Pipeline((Prune(), Distill()))
    assert Pipeline((Prune(), Distill(teacher="input"))).effect is Effect.MAKES_NETWORK
    assert Pipeline((Distill(), Prune(), PTQ())).effect is Effect.LOWERS_PRECISION


def test_what_a_student_replaced_bars_nothing_after_it():
    chain = Pipeline((PTQ(), Distill(teacher="input"), Prune(), PTQ()))
    assert [type(one) for one in standing(chain.stages)] == [Distill, Prune, PTQ]
    with pytest.raises(ValueError, match="cannot follow"):
        Pipeline((Distill(), PTQ(), Prune()))
    with pytest.raises(ValueError, match="cannot follow"):
        Pipeline((PTQ(), Distill(teacher="input"), PTQ(), Prune()))


@pytest.mark.parametrize("loss", [one for one in ("fitnet", *OF_LOGITS) if one != "dist"])
def test_every_loss_trains_a_student_and_leaves_nothing_behind(loss):
    student = Distill(loss=loss).compress(network(), Spy().task())
    plain = Distill(loss="none").compress(network(), Spy().task())
    assert student.state_dict().keys() == plain.state_dict().keys()
    assert student(drawn(2, *SHAPE, seed=1)).isfinite().all()
    assert "distill" in METHODS
