"""A published study holds what its page refers to, and is drawn again from what it holds."""

import dataclasses
import re
from pathlib import Path

import pytest

from bench.publish import publish
from bench.records import write_json
from reports import draw, join, load_run
from tests.records_example import record, write_run

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
def test_links_of_a_study_lead_somewhere_and_it_is_drawn_again_alike(joined, tmp_path):
    run = run_with_everything(tmp_path / "run")
    if joined:
        run = join([run, run_with_everything(tmp_path / "other", "lenet")], tmp_path / "both")
    records, command = load_run(run)
    draw(records, run, title="t", command=command)
    study = tmp_path / "study"
    publish(run, study)
    page = (study / "report.md").read_text()
    links = set(re.findall(r"\]\(([^)]+)\)", page))
    assert {"search.csv", "chains.csv", "table.csv"} <= links
    assert not [link for link in links if not (study / link).is_file()]
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    draw(load_run(study)[0], study, title="t", command=command)
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before
    for head in ("## Search", "## At size 8x"):
        assert page.count(f"\n{head}") == 1 + joined
