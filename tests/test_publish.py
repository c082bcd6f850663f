"""Publishing a run as a study: all that its report needs goes along, and nothing that is not the run's."""

import json
from pathlib import Path

import pytest

import run_bench
from bench.publish import publish
from docs.generator.links import broken, links
from reports import draw
from reports.chain_gains import gains
from tests.controls_example import controlled
from tests.records_example import write_run

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
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
