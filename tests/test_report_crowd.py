"""Reports of runs with hundreds of rows: what is named, what is summed up, and that nothing is lost."""

import io
import random
import re
import time
from pathlib import Path

from rich.console import Console

from reports import draw, terminal_table
from reports.crowd import CROWD, front, is_crowd, left_out, named, shared_reasons
from reports.page import page
from reports.statistics import pareto_front
from tests.records_example import example, failed, record, sweep
from tests.sweep_example import plain, spectral_run, with_troubles


def crowd(seeds: tuple[int, ...] = (0,)) -> list:  # type: ignore[type-arg]
    return with_troubles(spectral_run(plain, seeds=seeds))


def test_a_run_of_few_rows_is_no_crowd_and_shows_all() -> None:
    for records in (example((0, 1, 2)), sweep(), [record(f"dct:keep=0.{i:03d}") for i in range(1, CROWD + 1)]):
        assert not is_crowd(records)
        assert named(records) == records
        assert left_out(records, named(records)) == ""
    assert is_crowd([record(f"dct:keep=0.{i:03d}") for i in range(1, CROWD + 2)])


def test_the_named_rows_are_dense_and_those_that_no_other_beats() -> None:
    records = spectral_run()
    points = {r.chain: (r.file_bytes, r.runtimes[0].accuracy.correct) for r in records}  # type: ignore[union-attr]
    chains = list(points)
    expected = {chains[i] for i in pareto_front(list(points.values()))}
    assert {one.chain for one in named(records)} == expected | {"dense"}
    assert front(records) == sorted(expected - {"dense"}, key=lambda chain: points[chain][0])
    few = named(records, 4)
    assert len({one.chain for one in few}) <= 5
    mixed = list(records)
    random.Random(3).shuffle(mixed)
    assert {one.chain for one in named(mixed)} == {one.chain for one in named(records)}


def test_a_crowd_of_failures_is_said_in_a_line_for_each_reason() -> None:
    records = [record("dense"), *(failed(f"dct:keep=0.{i:03d}", reason=f"reason {i % 2}") for i in range(40))]
    assert len(shared_reasons(records)) == 2
    assert "failed: reason 0 (20 cases: dct:keep=0.000, dct:keep=0.002, dct:keep=0.004, ...)" in shared_reasons(records)
    text = page(records, title="t", command="c")
    section = text[text.index("## What went wrong") :].split("\n## ")[0]
    assert section.count("\n- ") == 2
    assert rendered(records).count("reason") == 2


def rendered(records: list) -> str:  # type: ignore[type-arg]
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(terminal_table(records, 100))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_terminal_shows_the_best_rows_and_says_what_is_left_out() -> None:
    records = crowd((0, 1, 2))
    text = rendered(records)
    assert len(text.splitlines()) < 60
    assert "of 165 rows" in re.sub(r"\s+", " ", text)
    assert "table.md" in text
    assert "dense" in text


def test_a_page_of_hundreds_of_rows_stays_short_and_names_the_whole_table(tmp_path: Path) -> None:
    records = crowd((0, 1, 2))
    assert len(records) > 450
    start = time.process_time()
    draw(records, tmp_path, title="t", command="c")
    seconds = time.process_time() - start
    text = (tmp_path / "report.md").read_text()
    assert len(text.splitlines()) < 560
    assert "of 165 rows, on the Pareto front of accuracy against file size. All rows: [table.md](table.md)" in text
    table = (tmp_path / "table.md").read_text()
    assert table.count("\n") == 2 + len(records)
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert {"figures/sweep_accuracy.png", "figures/sweep_gain.png"} <= set(linked)
    assert all((tmp_path / name).is_file() for name in linked)
    assert seconds < 20
