"""Runs that begin with somebody's own trained network, which is not trained here."""

import pytest
import torch

from bench.command import parse_command
from bench.estimate import Meter, Narrator
from bench.inputs import make_job
from bench.stages import stages
from bench.task import build
from methods import METHODS
from methods.base import Refused
from tests.test_choosing import Quiet

ALL_OF_IT = ["prune:score=variational", "prune:rewind=rate", "prune:rewind=weights", "distill:student=lenet300"]


def job_of(folder, *more):
    typed = ["--net", "lenet300", "--dataset", "digits:train=200", "--finetune-epochs", "1", "--no-controls",
             "--runtimes", "eager", "--out", str(folder / "run"), "--cache", str(folder / "cache")]  # fmt: skip
    return make_job(parse_command([*typed, *more]), METHODS, print)


def made(job, index):
    return stages(job, job.plan.cases[index], Narrator(Quiet(), Meter({})))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    torch.save(build(job_of(folder), 0, "lenet300").state_dict(), folder / "mine.pt")
    return folder / "mine.pt"


@pytest.mark.parametrize("chain", ALL_OF_IT)
def test_methods_that_train_as_long_as_the_dense_network_say_that_it_was_not_trained(tmp_path, weights, chain):
    with pytest.raises(Refused, match="was not trained here: say for how many epochs with --epochs"):
        made(job_of(tmp_path, "--weights", str(weights), "--methods", chain), 1)


@pytest.mark.parametrize("chain", ALL_OF_IT)
def test_with_epochs_of_its_own_the_same_is_trained(tmp_path, weights, chain):
    dense, row = made(job_of(tmp_path, "--weights", str(weights), "--epochs", "2", "--methods", chain), 1)
    assert [log.epoch for log in dense.training] == [1, 2]
    assert sum(log.epoch == 2 for log in row.training) == 1


def test_what_fine_tunes_alone_needs_no_training_of_the_dense_network(tmp_path, weights):
    dense, row = made(job_of(tmp_path, "--weights", str(weights), "--methods", "prune"), 1)
    assert dense.training == ()
    assert [log.epoch for log in row.training] == [1]
