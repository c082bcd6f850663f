"""Publishing a run as a study: all that its report needs goes along, and nothing that is not the run's."""

import dataclasses
import json
from pathlib import Path

import pytest

import run_bench
from bench.publish import publish
from bench.records import write_json
from docs.generator.links import broken, links
from reports import draw, join, load_run
from reports.chain_gains import gains
from tests.controls_example import controlled
from tests.records_example import record, write_run

COMMAND = "python run_bench.py --methods prune+ptq --search size>=8x"
SEARCHED = {
    "goal": "size>=8x", "least": "size", "seed": 0, "runtime": "", "epochs": 2, "dense_bytes": 1_000_000,
    "dense_validation_accuracy": 0.98, "winner": "", "command": "", "front": [],
    "candidates": [{"label": "prune", "status": "refused", "reason": "planted"}],
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A finished run of several seeds with chains and a search, as it lies in its folder."""
    records = controlled((0, 1, 2))
    assert gains(records)
    folder = tmp_path / "run"
    write_run(folder, records, COMMAND)
    (folder / "search.json").write_text(json.dumps(SEARCHED))
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "dense.nnc").touch()
    draw(records, folder, title="resnet18 on digits", command=COMMAND)
    return folder


def files(folder):
    """What is published: the page with the chart library in it is not."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "report.html"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_every_link_of_the_published_report_leads_somewhere(run, tmp_path):
    target = tmp_path / "docs" / "study"
    copied = publish(run, target)
    assert broken(target, [Path("report.md")]) == []
    linked = {link.path for link in links((target / "report.md").read_text())}
    assert {"table.csv", "chains.csv", "search.csv"} <= linked
    assert {str(path.relative_to(target)) for path in copied} == set(files(target))
    assert not (target / "artifacts").exists()


def test_a_published_study_is_drawn_again_to_the_same_bytes(run, tmp_path):
    target = tmp_path / "study"
    publish(run, target)
    before = files(target)
    assert run_bench.main(["--report", str(target)]) == 0
    assert files(target) == before


def test_a_study_is_replaced_whole(run, tmp_path):
    target = tmp_path / "study"
    target.mkdir()
    (target / "stale.csv").touch()
    publish(run, target)
    assert not (target / "stale.csv").exists()


def test_an_unfinished_run_and_a_changed_checkout_are_refused(run, tmp_path):
    record = next((run / "records").glob("*.json"))
    data = json.loads(record.read_text())
    data["environment"]["commit_dirty"] = True
    record.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="checkout with changes: commit them"):
        publish(run, tmp_path / "study")
    assert not (tmp_path / "study").exists()
    assert publish(run, tmp_path / "study", changed=True)
    (run / "report.md").unlink()
    with pytest.raises(ValueError, match=r"has no report.md: let the run finish"):
        publish(run, tmp_path / "other")


CHOSEN = {
    "seed": 0, "runtime": "eager", "dense_bytes": 8000, "dense_validation_accuracy": 0.95, "goal": "size<=1KB",
    "least": "size", "winner": "ptq", "command": "python run_bench.py --methods ptq", "epochs": 2, "front": ["ptq"],
}  # fmt: skip
CANDIDATE = {
    "number": 0,
    "label": "ptq",
    "chain": "ptq",
    "status": "whole",
    "size_bytes": 900,
    "drop": 1.0,
    "excess": 0.0,
}
MATCH = {
    "target": "size=8x", "asked": "ptq", "status": "ok", "label": "ptq", "chain": "ptq", "reached": 7.9,
    "validation_accuracy": 0.9, "file_bytes": 1000, "trials": 1, "cheap_trials": 2, "reason": "near",
}  # fmt: skip


def run_with_everything(folder: Path, net: str = "resnet18") -> Path:
    """A run of chains and their parts over seeds, that were matched and searched."""
    chains = ("dense", "ptq", "prune", "prune+ptq")
    kinds = {"prune+ptq": "ptq"}
    records = [
        dataclasses.replace(
            record(chain, seed=seed, like=kinds.get(chain, "")), net=net, case_id=f"{net}-{chain}-{seed}"
        )
        for seed in (0, 1, 2)
        for chain in chains
    ]
    write_run(folder, records)
    write_json({**CHOSEN, "matches": [MATCH]}, folder / "matched.json")
    write_json({**CHOSEN, "candidates": [CANDIDATE]}, folder / "search.json")
    return folder


@pytest.mark.parametrize("joined", [False, True])
def test_a_study_of_chosen_chains_and_one_of_several_runs_lack_nothing(joined, tmp_path):
    run = run_with_everything(tmp_path / "run")
    if joined:
        run = join([run, run_with_everything(tmp_path / "other", "lenet")], tmp_path / "both")
    records, command = load_run(run)
    draw(records, run, title="t", command=command)
    study = tmp_path / "study"
    publish(run, study)
    page = (study / "report.md").read_text()
    assert broken(study, [Path("report.md")]) == []
    before = files(study)
    draw(load_run(study)[0], study, title="t", command=command)
    assert files(study) == before
    for head in ("## Search", "## At size 8x"):
        assert page.count(f"\n{head}") == 1 + joined
