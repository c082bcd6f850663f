"""Laws of pruning schedules, of the steps that rows share, and of rewinding."""

import copy
import dataclasses
import math
import time

import pytest
import torch
from torch import nn

from baselines.training import Diverged, train
from bench.command import parse_command
from bench.estimate import Meter, Narrator, plan_seconds
from bench.grammar import parse_chains
from bench.inputs import make_job
from bench.stages import stages
from bench.task import build
from methods import METHODS
from methods.base import Task
from methods.graph import trace
from methods.layers import weights
from methods.pruning import Prune
from methods.pruning.scores import SCORES
from tests.drawing import drawn


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return trace(nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 9), nn.ReLU(), nn.Linear(9, 5)))


def zeros(model) -> torch.Tensor:
    return torch.cat([(getattr(layer, name) == 0).flatten() for _, layer, name in weights(model)])


@dataclasses.dataclass
class Trainer:
    """Stands for training: moves every trained tensor, and keeps what it was asked and saw."""

    steps: int = 8
    calls: list = dataclasses.field(default_factory=list)
    seen: list = dataclasses.field(default_factory=list)  # share of zeros at each step
    logs: list = dataclasses.field(default_factory=list)

    def __call__(self, model, *, at_step=lambda done: None, **settings):
        self.calls.append(settings)
        model.train()
        for step in range(self.steps):
            at_step(step / self.steps)
            assert model.training
            self.seen.append((step / self.steps, zeros(model)))
            with torch.no_grad():
                for index, tensor in enumerate(model.parameters()):
                    tensor.add_(0.1 * drawn(*tensor.shape, seed=100 * len(self.calls) + 10 * step + index))
        return model.eval()

    def task(self, **more) -> Task:
        return Task(self, lambda count: iter(()), log=self.logs.append, **more)


@pytest.mark.parametrize(("target", "step", "expected"), [
    (0.9, 0.5, [0.5, 0.75, 0.875, 0.9]), (0.75, 0.5, [0.5, 0.75]), (0.3, 0.5, [0.3]), (0.488, 0.2, [0.2, 0.36, 0.488]),
    (0.0, 0.5, [0.0]),
])  # fmt: skip
def test_iterative_steps_drop_their_share_of_what_is_left_and_end_at_the_target(network, target, step, expected):
    trainer = Trainer()
    settings = {} if step == 0.5 else {"step": step}
    pruned = Prune(target, schedule="iterative", **settings).compress(network, trainer.task())
    total = zeros(network).numel()
    assert [log.sparsity for log in trainer.logs] == [round(share * total) / total for share in expected]
    assert [(log.step, log.steps) for log in trainer.logs] == [(i + 1, len(expected)) for i in range(len(expected))]
    assert len(trainer.calls) == len(expected)
    assert zeros(pruned).sum() == round(target * total)
    assert Prune(target, schedule="iterative", **settings).epochs(3, 50) == 3 * len(expected)


def test_what_a_step_dropped_stays_dropped(network):
    trainer = Trainer()
    Prune(0.9, schedule="iterative").compress(network, trainer.task())
    for (_, before), (_, after) in zip(trainer.seen, trainer.seen[1:], strict=False):
        assert (after | ~before).all()


def test_a_presets_steps_are_its_rates_compounded(network):
    trainer = Trainer()
    sizes, rates = [12 * 40, 40 * 9, 9 * 5], [0.5, 0.5, 0.25]
    total = sum(sizes)
    exact = [1 - sum(n * (1 - p) ** t for n, p in zip(sizes, rates, strict=True)) / total for t in (1, 2, 3)]
    Prune(exact[2], preset="lookahead", schedule="iterative").compress(network, trainer.task())
    assert [log.sparsity for log in trainer.logs] == pytest.approx(exact, abs=2 / total)


@pytest.mark.parametrize("pattern", ["unstructured", "block"])
def test_a_gradual_schedule_is_cubic_and_over_after_three_quarters(network, pattern):
    trainer = Trainer(steps=128)
    settings = {"pattern": "block", "block": "2x2"} if pattern == "block" else {}
    pruned = Prune(0.8, schedule="gradual", **settings).compress(network, trainer.task())
    total = zeros(network).numel()
    slack = (3 * 4 if settings else 3) / total
    shares = [float(one.float().mean()) for _, one in trainer.seen]
    assert shares == sorted(shares)
    for (done, _), share in zip(trainer.seen, shares, strict=True):
        tick = min(1.0, math.floor(done / 0.75 * 32) / 32)
        assert share == pytest.approx(0.8 * (1 - (1 - tick) ** 3), abs=2 * slack)
    assert shares[0] == 0
    assert zeros(pruned).float().mean() == pytest.approx(0.8, abs=slack)
    assert [log.steps for log in trainer.logs] == [1]
    assert math.isnan(trainer.logs[0].accuracy_before)  # none of its networks is pruned and not yet fine-tuned
    assert trainer.logs[0].sparsity == zeros(pruned).float().mean()


def test_a_gradual_schedule_follows_from_the_share_and_the_model_alone(network):
    """Cut off half-way and gone on in another process, the masks come out the same."""
    whole = Trainer(steps=64)
    Prune(0.9, schedule="gradual").compress(network, whole.task())

    class CutOff(Trainer):
        def __call__(self, model, *, at_step=lambda done: None, **settings):
            def again(done):
                at_step(done)
                at_step(done)  # as after a resumption, that begins with the state of the step before

            return super().__call__(model, at_step=again, **settings)

    resumed = CutOff(steps=64)
    Prune(0.9, schedule="gradual").compress(network, resumed.task())
    assert all(torch.equal(one[1], other[1]) for one, other in zip(whole.seen, resumed.seen, strict=True))


def test_without_any_training_a_gradual_schedule_still_prunes(network):
    pruned = Prune(0.8, schedule="gradual").compress(network, Trainer(steps=0).task())
    assert zeros(pruned).sum() == round(0.8 * zeros(network).numel())


def test_rewinding_goes_back_to_the_weights_under_the_new_mask(network):
    with torch.random.fork_rng():
        torch.manual_seed(9)
        past = trace(nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 9), nn.ReLU(), nn.Linear(9, 5)))
    asked = []

    def dense_at(share):
        asked.append(share)
        return past

    trainer = Trainer(steps=0)
    pruned = Prune(0.6, rewind="weights", rewind_to=0.25).compress(network, trainer.task(dense_at=dense_at))
    plain = Prune(0.6).compress(network, Trainer(steps=0).task())
    assert asked == [0.25]
    assert trainer.calls == [{"full": True, "start": 0.25}]
    assert torch.equal(zeros(pruned), zeros(plain))  # ranked by the trained weights
    for (_, layer, name), (_, old, _) in zip(weights(pruned), weights(past), strict=True):
        value = getattr(layer, name)
        assert torch.equal(value[value != 0], getattr(old, name)[value != 0])
    rate = Trainer(steps=0)
    Prune(0.6, rewind="rate").compress(network, rate.task(dense_at=dense_at))
    assert rate.calls == [{"full": True, "start": 0.0}]
    assert asked == [0.25]


@pytest.mark.parametrize("schedule", ["oneshot", "iterative"])
def test_the_accuracy_before_fine_tuning_is_that_of_the_rewound_network(network, schedule):
    past = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in past.parameters():
            tensor.mul_(0).add_(2)
    trainer = Trainer(steps=0)

    def bias(model):
        return model.get_submodule("4").bias[0].item()

    method = Prune(0.75, rewind="weights", schedule=schedule)
    method.compress(network, trainer.task(dense_at=lambda share: past, validate=bias))
    assert [log.accuracy_before for log in trainer.logs] == [2.0] * (1 if schedule == "oneshot" else 2)


def test_rewinding_refuses_a_network_that_is_another(network):
    other = trace(nn.Sequential(nn.Linear(12, 41)))
    with pytest.raises(ValueError, match=r"which has no .* of this shape"):
        Prune(rewind="weights").compress(network, Trainer().task(dense_at=lambda share: other))


# In the harness


SMALL = ["--net", "lenet300", "--dataset", "digits:train=200", "--epochs", "2", "--finetune-epochs", "1"]


class Quiet:
    def say(self, text):
        pass

    step = case = lambda self, *_: None


def job_of(folder, chains):
    arguments = [*SMALL, "--methods", chains, "--out", str(folder / "run"), "--cache", str(folder / "cache")]
    return make_job(parse_command(arguments), METHODS, print)


def made(job, index):
    case = job.plan.cases[index]
    return stages(job, case, Narrator(Quiet(), Meter(plan_seconds(job.plan, job.sizes, set(), set()))))


CHAINS = "prune:sparsity=0.5/0.75/0.9:schedule=iterative"


def test_rows_of_a_sweep_share_their_first_steps_and_come_out_as_if_alone(tmp_path, monkeypatch):
    calls = []

    def counted(*arguments, **settings):
        calls.append(settings["stage"])
        return train(*arguments, **settings)

    monkeypatch.setattr("bench.trainer.train", counted)
    job = job_of(tmp_path / "together", CHAINS)
    together = [made(job, index)[-1] for index in range(4)][1:]
    assert len(calls) == 1 + 1 + 1 + 2  # dense, then the steps that no row before has made
    for index, chain in enumerate(parse_chains(CHAINS, METHODS), start=1):
        calls.clear()
        alone = made(job_of(tmp_path / f"alone{index}", chain.label), 1)[-1]
        assert len(calls) == 1 + (1, 2, 4)[index - 1]
        same = together[index - 1]
        for name, tensor in alone.model.state_dict().items():
            assert torch.equal(tensor, same.model.state_dict()[name]), name
        assert len(alone.training) == len(same.training) == (1, 2, 4)[index - 1]
        assert {log.stage for log in same.training} == {chain.label}
        assert [(s.step, s.steps) for s in same.steps][-1] == ((1, 2, 4)[index - 1],) * 2
        assert [s.sparsity for s in alone.steps] == [s.sparsity for s in same.steps]
        assert same.trainings == alone.trainings == (1, 2, 4)[index - 1]
        assert same.seconds > sum(log.seconds for log in same.training)  # ranking and validation count, whoever did it


def test_a_step_that_was_taken_over_counts_all_its_seconds(tmp_path, monkeypatch):
    """The time beside the epochs too: here, of scores that take their time."""
    score = SCORES["magnitude"]

    class Slow(type(score)):
        def __call__(self, *arguments):
            time.sleep(0.5)
            return super().__call__(*arguments)

    monkeypatch.setitem(SCORES, "magnitude", Slow())
    job = job_of(tmp_path, "prune:sparsity=0.5/0.75:schedule=iterative")
    _, once, twice = (made(job, index)[-1] for index in range(3))
    beside = [one.seconds - sum(log.seconds for log in one.training) for one in (once, twice)]
    assert beside[0] >= 0.5
    assert beside[1] >= 1.0


def test_what_a_gradual_schedule_tells_of_itself_survives_the_cache(tmp_path):
    for _ in range(2):  # the second time it is read
        (log,) = made(job_of(tmp_path, "prune:schedule=gradual"), 1)[-1].steps
        assert (log.step, log.steps, round(log.sparsity, 2)) == (1, 1, 0.9)
        assert math.isnan(log.accuracy_before)
        assert 0 <= log.accuracy_after <= 1


def untrained(job, case):
    return build(job, case.seed, case.source.net["spec"])


def test_the_dense_network_of_an_earlier_time_is_the_one_that_training_passed(tmp_path):
    job = job_of(tmp_path, "prune:rewind=weights:rewind_to=0.5")
    case = job.plan.cases[1]
    dense, pruned = made(job, 1)
    assert len(dense.training) == 2
    assert [log.epoch for log in pruned.training] == [2]  # the second of two epochs, at the dense training's rate
    assert pruned.training[0].lr == dense.training[1].lr
    recipe = case.source.recipe
    expected = untrained(job, case)
    train(expected, job.data, stage="x", epochs=2, lr=recipe.lr, recipe=recipe, seed=case.seed, until=0.5)
    found = (tmp_path / "cache" / "stages").glob("*.nnc")
    held = [job.cache.load(path.stem).model.state_dict() for path in found]
    assert any(
        one.keys() == expected.state_dict().keys()
        and all(torch.equal(one[name], tensor) for name, tensor in expected.state_dict().items())
        for one in held
    )


def test_training_in_two_halves_sees_the_same_images_at_the_same_rates(tmp_path):
    job = job_of(tmp_path, "half")
    recipe = dataclasses.replace(job.plan.cases[0].source.recipe, momentum=0.0)
    whole, halves = (untrained(job, job.plan.cases[0]) for _ in range(2))
    settings = {"stage": "x", "epochs": 4, "lr": recipe.lr, "recipe": recipe, "seed": 0}
    train(whole, job.data, **settings)
    train(halves, job.data, until=0.5, **settings)
    train(halves, job.data, start=0.5, **settings)
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(tensor, halves.state_dict()[name], atol=1e-5), name


def test_a_penalty_is_part_of_what_is_minimised(tmp_path):
    job = job_of(tmp_path, "half")
    recipe = job.plan.cases[0].source.recipe
    norms, shares = [], []
    for weight in (0.0, 1.0):
        model = untrained(job, job.plan.cases[0])

        def penalty(done, model=model, weight=weight):
            shares.append(done)
            return weight * sum(tensor.square().sum() for tensor in model.parameters())

        train(model, job.data, stage="x", epochs=1, lr=0.05, recipe=recipe, seed=0, penalty=penalty)
        norms.append(sum(float(tensor.detach().square().sum()) for tensor in model.parameters()))
    assert norms[1] < 0.8 * norms[0]
    assert shares[0] == 0
    assert shares[: len(shares) // 2] == sorted(shares[: len(shares) // 2])


def test_the_loss_that_is_logged_is_the_cross_entropy_without_a_penalty(tmp_path):
    job = job_of(tmp_path, "half")
    recipe = job.plan.cases[0].source.recipe
    settings = {"stage": "x", "epochs": 1, "lr": 0.05, "recipe": recipe, "seed": 0}
    plain, priced = (
        train(untrained(job, job.plan.cases[0]), job.data, penalty=penalty, **settings)
        for penalty in (None, lambda done: torch.tensor(100.0, requires_grad=True))
    )
    assert priced[0].train_loss == pytest.approx(plain[0].train_loss, rel=1e-6)
    with pytest.raises(Diverged, match="the loss is inf"):
        train(untrained(job, job.plan.cases[0]), job.data, penalty=lambda done: torch.tensor(math.inf), **settings)
