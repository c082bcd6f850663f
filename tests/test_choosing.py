"""Choosing before a run: never on the test split, the same again after an interruption, and told in the report."""

import dataclasses
import json
import shutil

import pytest

import bench.laboratory
from baselines.data import ArrayData
from baselines.errors import UsageError
from baselines.training import evaluate
from bench.choosing import matched_job
from bench.command import parse_command
from bench.estimate import Meter, Narrator
from bench.grammar import parse_chains
from bench.inputs import make_job
from bench.laboratory import UNTRAINED, Laboratory, Trial
from methods import METHODS
from methods.base import Refused
from reports.matched import matched_section
from tests.records_example import record

SMALL = (
    "--net", "mlp:width=48:depth=2", "--dataset", "fake:count=200:size=8:channels=1", "--epochs", "1",
    "--finetune-epochs", "1", "--runtimes", "eager", "--no-controls", "--cache", "cache",
)  # fmt: skip
AT = (*SMALL, "--methods", "prune,lowrank", "--at", "size=3x", "--out", "run")


class Quiet:
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def case(self, index, count, label):
        pass

    def step(self, text, done, left):
        pass


def choice(*arguments, watcher=None):
    command = parse_command(arguments)
    job = make_job(command, METHODS, print)
    return matched_job(command, job, METHODS, watcher or Quiet())


def laboratory(kind=Laboratory, *arguments):
    job = make_job(parse_command([*SMALL, "--out", "run", *arguments]), METHODS, print)
    return kind(job, Narrator(Quiet(), Meter({"choosing": 1.0})), 0)


def chain_of(text):
    return parse_chains(text, METHODS)[0]


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """The parts of the data that are opened, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    parts = []
    original = ArrayData.batches

    def batches(self, split, *arguments, **settings):
        parts.append(split)
        return original(self, split, *arguments, **settings)

    monkeypatch.setattr(ArrayData, "batches", batches)
    return parts


class Peeker(Laboratory):
    """An offender: it scores on the test split."""

    def _tried(self, case, epochs, latency):
        found = super()._tried(case, epochs, latency)
        model = bench.laboratory.stages(self.job, case, self.narrator)[-1].model
        return dataclasses.replace(found, validation_accuracy=evaluate(model, self.job.data, "test"))


def test_the_test_split_is_never_opened_while_choosing(opened):
    job = choice(*AT)
    assert set(opened) == {"validation"}
    assert [case.label.partition(":")[0] for case in job.plan.cases] == ["dense", "prune", "lowrank"]
    assert job.data.count("test") > 0  # the rows that were chosen have it


def test_every_student_of_a_scan_is_a_chain_to_choose_from(tmp_path, monkeypatch):
    """Not the first of them alone: a text that stands for several is no chain."""
    monkeypatch.chdir(tmp_path)
    scan = "distill:student='student:widths=2-4/4-8:kernel=3'"
    job = make_job(parse_command([*SMALL, "--methods", f"{scan}+prune", "--out", "run"]), METHODS, print)
    labels = [chain.label for chain in job.chains_of(f"{scan}+prune")]
    assert ["2-4" in labels[0], "4-8" in labels[1], len(labels)] == [True, True, 2]
    assert [job.chain_of(label).label for label in labels] == labels
    with pytest.raises(UsageError, match="stands for 2 chains"):
        job.chain_of(scan)


def test_who_would_open_it_is_stopped(opened):
    with pytest.raises(KeyError, match="test"):
        laboratory(Peeker).trial(None)
    opened.clear()
    honest = laboratory()
    peeker = laboratory(Peeker)
    peeker.job = dataclasses.replace(peeker.job, data=make_job(parse_command(SMALL), METHODS, print).data)
    assert honest.trial(None).status == "ok"
    assert set(opened) == {"validation"}
    shutil.rmtree("run")
    peeker.trial(None)
    assert "test" in opened  # the watch above sees it where nothing stops it


def test_an_interrupted_choice_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    original = Laboratory._tried

    def counted(self, case, epochs, latency):
        calls.append((case.text, epochs))
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return original(self, case, epochs, latency)

    monkeypatch.setattr(Laboratory, "_tried", counted)
    stop_at = -1
    first = choice(*AT).plan
    undisturbed, matches = list(calls), json.loads((tmp_path / "run" / "matched.json").read_text())
    shutil.rmtree(tmp_path / "run")
    calls.clear()
    stop_at = 5
    with pytest.raises(KeyboardInterrupt):
        choice(*AT)
    stop_at = -1
    again = choice(*AT).plan
    assert [case.id for case in again.cases] == [case.id for case in first.cases]
    assert calls == [*undisturbed[:5], *undisturbed[4:]]  # the one that was cut off is made again, and no other
    assert json.loads((tmp_path / "run" / "matched.json").read_text()) == matches


def test_the_file_of_the_row_has_the_bytes_that_were_chosen(tmp_path, monkeypatch):
    from bench.runner import Runner

    monkeypatch.chdir(tmp_path)
    job = choice(*SMALL, "--methods", "prune", "--at", "size=3x", "--out", "run")
    matches = json.loads((tmp_path / "run" / "matched.json").read_text())["matches"]
    dense, *rows = Runner(job, Quiet()).run()
    assert [(row.file_bytes, row.validation_accuracy) for row in rows] == [
        (one["file_bytes"], one["validation_accuracy"]) for one in matches
    ]
    for row, one in zip(rows, matches, strict=True):
        assert row.status == "ok"
        assert dense.file_bytes / row.file_bytes == pytest.approx(one["reached"])
        assert one["reached"] == pytest.approx(3, rel=0.03) or one["status"] == "nearest"
    section = matched_section([dense, *rows], tmp_path / "run")
    assert "## At size 3x" in section
    assert section.count("| `prune` | `prune:sparsity=") == 1
    assert len([line for line in section.splitlines() if line.startswith("| `")]) == 1


def test_latency_is_taken_beside_dense_without_the_data(opened):
    lab = laboratory()
    found = lab.trial(chain_of("prune"), UNTRAINED, latency=True)
    assert 0.1 < found.latency_s / found.dense_latency_s < 10
    assert found.levels(lab.dense(latency=True)).latency > 0
    assert lab.trial(chain_of("prune"), UNTRAINED, latency=True) == found  # kept
    assert list((lab.job.out / "work").iterdir())  # of this folder, not of the one that the process runs in
    assert set(opened) == {"validation"}


def test_without_training_a_chain_has_nearly_the_same_bytes_and_no_epochs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = laboratory()
    trained, cheap = (lab.trial(chain_of("prune+cluster"), epochs) for epochs in (None, UNTRAINED))
    assert trained.epochs == lab.full_epochs == 1
    assert cheap.file_bytes == pytest.approx(trained.file_bytes, rel=0.1)


def test_what_cannot_run_is_a_trial_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = laboratory().trial(chain_of("prune:layers=conv"), UNTRAINED)
    assert (found.status, found.file_bytes) == ("refused", 0)
    assert "no conv layer" in found.reason


def test_epochs_that_save_nothing_are_left_out_of_the_ladder():
    lab = laboratory()
    assert lab.ladder(chain_of("prune+cluster"), [2, 7, 20]) == [2, 7, 20]
    assert lab.ladder(chain_of("longer:extra=9+prune"), [1, 3]) == [3]
    assert lab.ladder(chain_of("ptq"), [1, 3]) == [1, 3]


def test_a_damaged_trial_is_made_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = laboratory()
    before = lab.trial(chain_of("prune"), UNTRAINED)
    (path,) = (tmp_path / "run" / "trials").glob("*.json")
    path.write_text('{"chain": "prune"')
    again = lab.trial(chain_of("prune"), UNTRAINED)
    assert dataclasses.replace(again, seconds=0) == dataclasses.replace(before, seconds=0)


def test_mistakes_are_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="out of reach of every chain") as caught:
        choice(*SMALL, "--methods", "half", "--at", "size=3x", "--out", "run")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="holds another choice"):
        choice(*SMALL, "--methods", "prune", "--at", "size=3x", "--out", "run")
    (tmp_path / "typed").mkdir()
    (tmp_path / "typed" / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a run whose chains were typed"):
        choice(*SMALL, "--methods", "prune", "--at", "size=3x", "--out", "typed")
    (tmp_path / "run" / "choice.json").write_text("{")
    with pytest.raises(ValueError, match=r"choice.json is damaged: delete it"):
        choice(*SMALL, "--methods", "half", "--at", "size=3x", "--out", "run")


def test_the_section_tells_refused_chains_and_several_seeds(tmp_path):
    one = record("prune")
    match = {
        "target": "drop=0.5", "asked": "prune", "status": "reached", "reason": "", "label": "prune:sparsity=0.9",
        "chain": one.chain, "reached": 0.25, "validation_accuracy": 0.98, "file_bytes": 12_345, "trials": 6,
        "cheap_trials": 0,
    }  # fmt: skip
    refused = {**match, "asked": "half", "status": "refused", "reason": "no | strength", "label": "", "chain": ""}
    data = {"seed": 0, "runtime": "eager", "dense_bytes": 1, "dense_validation_accuracy": 0.9825}
    path = tmp_path / "matched.json"
    path.write_text(json.dumps({**data, "matches": [match, refused]}))
    text = matched_section([one, dataclasses.replace(one, seed=1)], tmp_path)
    assert "## At a drop of at most 0.5 points" in text
    assert "(mean of 2)" in text
    assert "| `half` | refused |" in text
    assert r"no \| strength" in text
    assert "98.25 %" in text
    assert matched_section([one], tmp_path / "nowhere") == ""
    path.write_text("{")
    with pytest.raises(ValueError, match=r"matched.json is damaged"):
        matched_section([one], tmp_path)


def test_a_method_that_refuses_late_is_a_refused_trial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(*_):
        raise Refused("not\ntoday")

    monkeypatch.setattr(Laboratory, "_tried", refuse)
    found = laboratory().trial(chain_of("prune"))
    assert isinstance(found, Trial)
    assert (found.status, found.reason) == ("refused", "not today")
