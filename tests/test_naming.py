"""Networks that settings name: mistakes are told before anything is trained, and what a name hides is in the ids."""

import dataclasses

import pytest
import torch

from baselines.errors import UsageError
from bench.command import parse_command
from bench.estimate import Meter, Narrator, plan_seconds
from bench.files import save_file
from bench.grammar import Stage
from bench.inputs import make_job
from bench.stages import stages
from methods import METHODS, Distill
from methods.base import Refused

SMALL = ["--net", "lenet", "--dataset", "fake:classes=3:count=90:size=8", "--epochs", "2", "--finetune-epochs", "1"]
STUDENT = "distill:student='student:widths=4-6:hidden=5'"


class Quiet:
    def say(self, text):
        pass

    step = case = lambda self, *_: None


def job_of(folder, chains, *more):
    arguments = [
        *SMALL,
        *more,
        "--no-controls",
        "--methods",
        chains,
        "--out",
        str(folder / "run"),
        "--cache",
        str(folder / "cache"),
    ]
    return make_job(parse_command(arguments), METHODS, print)


def made(job, index=1, watcher=None):
    case = job.plan.cases[index]
    return stages(job, case, Narrator(watcher or Quiet(), Meter(plan_seconds(job.plan, job.sizes, set(), set()))))


@pytest.fixture
def teacher(tmp_path):
    """The dense network's file."""
    job = job_of(tmp_path, "ptq")
    path = tmp_path / "teacher.nnc"
    save_file(job, job.plan.cases[0], made(job, 0)[-1].model, path)
    return path


@pytest.mark.parametrize(
    ("chains", "says"),
    [
        ("distill:student=studnt1", "distill:student: unknown network 'studnt1': did you mean 'student1'"),
        ("distill:teacher=resnet9", "distill:teacher: unknown network 'resnet9': did you mean 'resnet"),
        ("prune:teacher=dens", "prune:teacher: unknown network 'dens'"),
        ("distill:student=dense", "dense is a trained network: name one to be trained"),
        ("distill:student=x.nnc", "name one to be trained"),
        ("distill:teacher=nowhere.nnc", "nowhere.nnc is not there"),
        ("distill:student='student:widths=x'", "student:widths must be whole numbers"),
        ("distill:student='student:widths=8/9:under=3'", "the smallest, student:widths=8, has"),
        ("distill:student='student1:hidden=3'", "student1 has no option 'hidden'"),
    ],
)
def test_mistakes_are_told_when_the_command_is_read(tmp_path, chains, says):
    with pytest.raises(UsageError, match=says) as caught:
        job_of(tmp_path, chains)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("chain", ["{}", "{}+prune", "ensemble:of='dense,{}'"])
def test_dropout_of_a_student_without_any_is_told_when_the_command_is_read(tmp_path, chain):
    with pytest.raises(UsageError, match="lenet has no dropout layers"):
        job_of(tmp_path, chain.format("distill:student=lenet:dropout=0.2"))
    assert job_of(tmp_path, chain.format("distill:student=student4:dropout=0.2"))
    assert job_of(tmp_path, chain.format("distill:student=lenet"))


@pytest.mark.parametrize("loss", ["at", "fitnet"])
def test_a_loss_that_cannot_compare_student_and_teacher_is_told_before_anything_is_trained(tmp_path, loss):
    with pytest.raises(UsageError, match=rf"^distill:.*loss={loss}.*: loss={loss} compares maps .* none in common"):
        job_of(tmp_path, f"prune,distill:student=mlp:loss={loss}")
    assert job_of(tmp_path, f"distill:student=student1:loss={loss}", "--net", "student2")
    assert job_of(tmp_path, "distill:student=mlp:loss=kd,distill:student=mlp:loss=rkd")


def test_a_scan_is_a_row_for_each_student_that_is_small_enough_on_these_images(tmp_path):
    job = job_of(tmp_path, "distill:student='student:widths=4-6/4/64-64:kernel=3/1:under=600'+ptq")
    assert [case.label for case in job.plan.cases] == [
        "dense",
        *(f"distill:student='student:widths={widths}:kernel={kernel}'+ptq"
          for widths, kernel in (("4-6", 1), ("4", 1), ("4", 3), ("4-6", 3))),
    ]  # fmt: skip


def test_the_bytes_of_a_named_file_are_in_the_id_and_its_place_is_not_enough(tmp_path, teacher):
    chains = f"distill:teacher='{teacher}',prune:teacher='{teacher}',prune"
    before = [case.id for case in job_of(tmp_path, chains).plan.cases]
    assert [case.id for case in job_of(tmp_path, chains).plan.cases] == before
    job = job_of(tmp_path, "ptq", "--seeds", "1")
    save_file(job, job.plan.cases[0], made(job, 0)[-1].model, teacher)
    after = [case.id for case in job_of(tmp_path, chains).plan.cases]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False, True]


def test_what_a_named_teacher_is_trained_with_is_in_the_id(tmp_path):
    own, other = (job_of(tmp_path, "distill:teacher=student4", *more).plan.cases[1] for more in ([], ["--lr", "0.05"]))
    assert own.source == other.source  # 0.05 is the rate of the chain's net, the teacher's is another
    assert own.text == other.text
    assert own.id != other.id


def test_the_code_of_a_students_own_file_is_in_the_id(tmp_path):
    file = tmp_path / "mine.py"
    code = "from torch import nn\ndef net(classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    ids = []
    for more in ("", "# other\n"):
        file.write_text(code + more)
        ids.append(job_of(tmp_path, f"distill:student='{file}:net'").plan.cases[1].id)
    assert ids[0] != ids[1]


def test_ids_of_stages_that_name_nothing_are_as_they_were(tmp_path):
    source = job_of(tmp_path, "ptq").plan.cases[0].source
    plain = Stage("distill", Distill(), "distill")
    named = dataclasses.replace(plain, contents=("teacher 12",))
    assert source.stage_id("x", plain, 0) == source.stage_id("x", dataclasses.replace(plain, contents=()), 0)
    assert source.stage_id("x", plain, 0) != source.stage_id("x", named, 0)


def test_files_that_do_not_fit_the_data_are_told_before_training(tmp_path, teacher):
    with pytest.raises(UsageError, match=r"is for \(classes, image shape\) \(3, \[1, 8, 8\]\), the data have \(3, "):
        job_of(tmp_path, f"distill:teacher='{teacher}'", "--dataset", "fake:classes=3:count=90:size=9")
    teacher.write_bytes(teacher.read_bytes()[:-9])
    with pytest.raises(UsageError, match="cannot be read"):
        job_of(tmp_path, f"distill:teacher='{teacher}'")


def test_students_are_trained_as_long_as_the_dense_network_by_every_kind_of_teacher(tmp_path, teacher):
    chains = [f"{STUDENT}:teacher={name}" for name in (f"'{teacher}'", "dense", "student4", "input")]
    job = job_of(tmp_path, ",".join(chains))
    found = [made(job, index) for index in range(1, 5)]
    assert [len(one[-1].training) for one in found] == [2] * 4
    weights = [one[-1].model.head.weight for one in found]
    torch.testing.assert_close(weights[1], weights[3])
    torch.testing.assert_close(weights[0], weights[1])  # the file is the dense network's own
    assert not torch.equal(weights[1], weights[2])


def test_a_subset_is_counted_as_what_it_is_and_too_small_a_one_refused(tmp_path):
    job = job_of(tmp_path, f"{STUDENT}:subset=0.5/0.02")
    logs = made(job)[-1].training
    assert {log.samples for log in logs} == {job.data.subset(0.5).count("train")}
    with pytest.raises(Refused, match=r"subset=0\.02 leaves class"):
        made(job, 2)


class Cut(Exception):
    pass


class Bomb(Quiet):
    def __init__(self, after):
        self.after = after

    def step(self, *_):
        self.after -= 1
        if not self.after:
            raise Cut


@pytest.mark.parametrize("chain", [f"{STUDENT}:loss=fitnet:alpha=0.5", "prune:teacher=input:loss=fitnet"])
def test_an_interrupted_lesson_goes_on_bit_for_bit(tmp_path, chain):
    net = ["--net", "student:widths=4-8", "--finetune-epochs", "2"]
    whole = made(job_of(tmp_path / "whole", chain, *net))[-1]
    job = job_of(tmp_path / "cut", chain, *net)
    made(job, 0)
    seen = Bomb(10**6)
    made(job_of(tmp_path / "count", chain, *net), watcher=seen)
    for after in range(1, 10**6 - seen.after, 3):
        with pytest.raises(Cut):
            made(job_of(tmp_path / f"cut{after}", chain, *net), watcher=Bomb(after))
        again = made(job_of(tmp_path / f"cut{after}", chain, *net))[-1]
        for name, tensor in whole.model.state_dict().items():
            assert torch.equal(tensor, again.model.state_dict()[name]), (after, name)
        assert [log.train_loss for log in again.training] == [log.train_loss for log in whole.training]
