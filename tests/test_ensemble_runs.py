"""Ensembles in the harness: members are other rows' networks, trained once, and counted in each row that takes them."""

import pytest
import torch

from baselines.training import train
from bench.command import parse_command
from bench.estimate import Meter, Narrator, plan_seconds
from bench.files import save_file
from bench.inputs import make_job
from bench.stages import stages
from methods import METHODS

DENSE_EPOCHS, EXTRA = 2, 1
ENSEMBLE = "ensemble:of='dense,prune:sparsity=0.5':seeds=2"


class Quiet:
    def say(self, text):
        pass

    step = case = lambda self, *_: None


@pytest.fixture
def trained(monkeypatch):
    """Stages that were really trained, in order."""
    calls = []

    def counted(*arguments, **settings):
        calls.append(settings["stage"])
        return train(*arguments, **settings)

    monkeypatch.setattr("bench.trainer.train", counted)
    return calls


def job_of(folder, methods):
    small = ["--net", "lenet300", "--dataset", "digits:train=200", "--epochs", str(DENSE_EPOCHS)]
    small += ["--finetune-epochs", str(EXTRA), "--no-controls"]
    typed = [*small, "--methods", methods, "--out", str(folder / "run"), "--cache", str(folder / "cache")]
    return make_job(parse_command(typed), METHODS, print)


def made(job, index):
    narrator = Narrator(Quiet(), Meter(plan_seconds(job.plan, job.sizes, set(), set())))
    return stages(job, job.plan.cases[index], narrator)


def test_members_are_the_networks_of_other_rows_and_their_epochs_count_once(tmp_path, trained):
    job = job_of(tmp_path, f"prune:sparsity=0.5,{ENSEMBLE},{ENSEMBLE}:mean=probabilities")
    pruned, ensemble, other = (made(job, index)[-1] for index in (1, 2, 3))
    assert len(trained) == 4  # dense and pruned of two seeds
    for name, tensor in pruned.model.state_dict().items():
        assert torch.equal(tensor, ensemble.model.state_dict()[f"member2.{name}"]), name
    case = job.plan.cases[2]
    expected = case.chain.epochs(EXTRA, DENSE_EPOCHS)
    assert len(ensemble.training) == len(other.training) == expected == DENSE_EPOCHS + 2 * EXTRA
    assert {log.stage for log in ensemble.training} == {ENSEMBLE}
    assert ensemble.seconds > 0


def test_an_ensemble_is_taught_into_one_student_again(tmp_path, trained):
    job = job_of(tmp_path, "ensemble:seeds=2+distill:student=lenet300:teacher=input")
    dense, ensemble, student = made(job, 1)
    sizes = [sum(tensor.numel() for tensor in one.model.parameters()) for one in (dense, ensemble, student)]
    assert sizes[1] == 2 * sizes[0] == 2 * sizes[2]
    assert len(trained) == 3
    assert len(student.training) == DENSE_EPOCHS


def test_the_file_of_another_writing_is_what_the_row_says(tmp_path):
    job = job_of(tmp_path, "xz,prune:sparsity=0.9+xz")
    sizes = []
    for index in range(3):
        case = job.plan.cases[index]
        save_file(job, case, made(job, index)[-1].model, job.artifact_path(case))
        sizes.append(job.artifact_path(case).stat().st_size)
        assert job.artifact_path(case).read_bytes().startswith(b"\xfd7zXZ") is bool(index)
    assert sizes[2] < 0.5 * sizes[1]


@pytest.mark.parametrize("chain", ["small:like='prune:sparsity=0.8'", "small:bytes=100000"])
def test_the_small_networks_file_has_the_bytes_of_the_row(tmp_path, chain, trained):
    pytest.importorskip("torch_pruning")
    job = job_of(tmp_path, f"prune:sparsity=0.8,{chain}")
    sizes = []
    for index in (1, 2):
        case = job.plan.cases[index]
        save_file(job, case, made(job, index)[-1].model, job.artifact_path(case))
        sizes.append(job.artifact_path(case).stat().st_size)
    target = 100_000 if "bytes" in chain else sizes[0]
    assert abs(sizes[1] - target) <= 0.03 * target
    assert len(trained) == 3


def test_longer_trains_on_for_so_many_epochs(tmp_path):
    job = job_of(tmp_path, "longer:extra=3,longer")
    assert [len(made(job, index)[-1].training) for index in (1, 2)] == [3, EXTRA]
