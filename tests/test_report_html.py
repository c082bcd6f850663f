"""The data of report.html: its numbers are those of the tables, its size is bounded, no text of a record is markup."""

import base64
import dataclasses
import gzip
import json
import math
import re
import time
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

import reports.html
from bench.records import EpochLog, write_json
from reports.cells import percent, rounded
from reports.html import MOST_BYTES, SCRIPTS, STYLES, html_page
from reports.html.data import data_of, page_of
from reports.html.details import by_layer
from reports.html.differences import differences
from reports.marks import line_marks, marked
from reports.matched import matched_section
from reports.pairing import compared, points, rows_of
from reports.reasons_page import with_reasons
from reports.roles import asked
from reports.rows import frame, summary
from tests.records_example import densenet_layers, example, failed, record, with_runtime

FOLDER = Path(reports.html.__file__).parent
COMMAND = "python run_bench.py --methods dct,qat --net resnet18 --epochs 6 --out runs/a --orders"
HOSTILE = "x</script><img src=x onerror=alert(1)>&\"'`${1}\u2028</title><!--"


def data_in(text: str) -> dict:
    """What a page embeds."""
    found = re.search(r'<script type="text/plain" id="data">([^<]*)</script>', text)
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


class Reader(HTMLParser):
    """Counts elements and keeps the texts of the buttons that open rows."""

    def __init__(self):
        super().__init__()
        self.tags, self.labels, self.inside = {}, [], False

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag == "button" and dict(attrs).get("class") == "open":
            self.inside = True
            self.labels.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "button"

    def handle_data(self, data):
        if self.inside:
            self.labels[-1] += data


def read(text):
    reader = Reader()
    reader.feed(text)
    return reader


def seeds_and_trouble():
    """Three seeds, two runtimes, a row that failed on one seed and one that was refused on all."""
    records = example(seeds=(0, 1, 2))
    records += [record("prune:sparsity=0.5", seed=0), failed("prune:sparsity=0.5", seed=1)]
    return [*records, failed("lowrank", status="refused", reason="no layer fits")]


def test_lines_hold_the_numbers_of_table_csv_and_of_the_summary():
    records = seeds_and_trouble()
    data = data_in(html_page(records, title="t", command=COMMAND))
    keys = [column["key"] for column in data["columns"]]
    table = with_reasons(frame(records, line_marks(marked(asked(records)))), records)
    lines = {(line["case"], line["runtime"]): line for line in data["lines"] if line["seed"] is not None}
    assert len(lines) == len(table)
    for row in table.to_dict("records"):
        line = lines[row["case_id"], row["runtime"]]
        assert (line["status"], line["reason"], line["mark"]) == (row["status"], row["reason"], row["mark"])
        for key, value in zip(keys, line["numbers"], strict=True):
            if key.startswith("latency_share"):
                speedup = row[key.replace("latency_share", "speedup")]
                assert value == (None if pd.isna(speedup) else 1 / speedup)
            else:
                expected = row[key]
                assert value == (None if pd.isna(expected) or not math.isfinite(expected) else expected), key
    means = {
        (data["rows"][line["row"]]["chain"], line["runtime"]): line for line in data["lines"] if line["seed"] is None
    }
    over = summary(table)
    assert len(means) == len(over)
    for row in over.to_dict("records"):
        line = means[row["chain"], row["runtime"]]
        mean = row["accuracy_mean"]
        assert line["numbers"][keys.index("accuracy")] == (None if pd.isna(mean) else mean)
        assert line["seeds"] == f"{row['ok']} of {row['seeds']}"
        if row["ok"] == 3:
            assert line["bars"]["accuracy"] == [row["accuracy_low"], row["accuracy_high"]]


def test_cells_are_written_as_the_readable_table_writes_them():
    text = html_page([record("dense"), record("dct")], title="t", command=COMMAND)
    line = frame([record("dense"), record("dct")]).to_dict("records")[2]
    row = re.search(r'<tr data-line="2".*?</tr>', text)[0]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
    interval = f"{percent(line['accuracy_low'], 1)}–{percent(line['accuracy_high'], 1)}"
    assert f"{percent(line['accuracy'])} <small>{interval}</small>" in cells
    assert f"{rounded(line['compression_ratio'])}×" in cells


def test_every_pair_has_the_difference_that_python_computes_and_the_verdict_of_the_marks():
    records = seeds_and_trouble()
    rows = rows_of(records)
    place = differences(rows, records)["places"][0]
    tests = {frozenset((p.first.chain, p.second.chain)): p for p in marked(asked(records))[0].pairs}
    pairs = list(combinations(range(len(rows)), 2))
    assert len(place["gap"]) == len(pairs)
    known = 0
    for at, (i, j) in enumerate(pairs):
        gap = compared(rows[i], rows[j])
        if gap is None:
            assert place["gap"][at] is None
            continue
        known += 1
        shown = [place[name][at] / 100 for name in ("gap", "low", "high")]
        assert f"{shown[0]:+.2f} ({shown[1]:+.2f} to {shown[2]:+.2f})".replace("+0.00", "-0.00") == points(gap).replace(
            "+0.00", "-0.00"
        )
        assert place["side"][at] == gap.better - gap.worse
        test = tests[frozenset((rows[i].chain, rows[j].chain))]
        assert place["apart"][at] == test.apart
        assert place["p"][at] == pytest.approx(test.p_value, rel=1e-2)
    assert known > 10


def test_same_records_same_bytes():
    first, second = (html_page(seeds_and_trouble(), title="t", command=COMMAND) for _ in range(2))
    assert first == second


def test_texts_of_records_are_never_markup():
    rows = [dataclasses.replace(record("dct"), label=HOSTILE, notes=(HOSTILE,)), failed("ptq", reason=HOSTILE)]
    rows = [record("dense"), with_runtime(rows[0], "eager", kernels=HOSTILE), rows[1]]
    tame = [record("dense"), record("dct"), failed("ptq")]
    hostile, harmless = (
        html_page(of, title=title, command=f"python run_bench.py --methods {title}", choice=f"# {title}\n\n`{title}`\n")
        for of, title in ((rows, HOSTILE), (tame, "t"))
    )
    found = read(hostile)
    assert HOSTILE in found.labels
    for tag in ("script", "title", "tr", "button", "body"):
        assert found.tags[tag] == read(harmless).tags[tag]
    assert "img" not in found.tags
    data = data_in(hostile)
    assert data["rows"][1]["label"] == HOSTILE
    assert HOSTILE in data["texts"]


def many(count, layers=()):
    rows = [record("dense", layers=layers)]
    base = record("dct", layers=layers)
    for index in range(count - 1):
        chain = f"dct:keep={(index + 1) / 1000}:axes=channels:shape=rectangle"
        rows.append(dataclasses.replace(base, case_id=f"case-{index}", chain=chain, label=chain))
    return rows


def test_500_rows_stay_below_5_mb_and_take_seconds():
    records = [
        dataclasses.replace(one, ledger=tuple(dataclasses.replace(e, bytes=e.bytes + i, values_bytes=e.values_bytes + i)
                                              for e in one.ledger))
        for i, one in enumerate(many(500))
    ]  # fmt: skip
    start = time.process_time()
    text = html_page(records, title="t", command=COMMAND)
    assert time.process_time() - start < 60
    assert len(text.encode()) < 5_000_000
    data = data_in(text)
    assert len(data["rows"]) == 500
    assert data["whole"]
    assert sum(data["cases"][7]["ledger"]["bytes"]) == sum(entry.bytes for entry in records[7].ledger)


def test_ledgers_of_too_many_layers_are_shortened_and_still_sum_to_the_file(monkeypatch):
    records = many(12, densenet_layers())
    whole = html_page(records, title="t", command=COMMAND)
    monkeypatch.setattr(reports.html, "MOST_BYTES", len(whole) - 1)
    short = html_page(records, title="t", command=COMMAND)
    assert len(short) < len(whole)
    data = data_in(short)
    assert not data["whole"]
    for case, one in zip(data["cases"], records, strict=True):
        assert sum(case["ledger"]["bytes"]) == one.file_bytes
        assert len(case["ledger"]["bytes"]) < len(one.ledger)


def test_a_shortened_ledger_keeps_the_largest_layers_and_every_part():
    ledger = record("dct").ledger
    merged = by_layer(ledger, 5)
    assert len(merged) == 6
    for name in ("bytes", "parameters", "nonzeros", "values_bytes", "indices_bytes", "header_bytes"):
        assert sum(getattr(one, name) for one in merged) == sum(getattr(one, name) for one in ledger)
    assert {"layer4.0.conv2", "layer4.1.conv1"} <= {one.layer for one in merged}


@pytest.mark.parametrize(
    "records",
    [
        [record("dense")],
        [record("dct")],
        [failed("dct"), failed("ptq", status="refused")],
        [record("dense"), with_runtime(record("qat"), "eager", status="failed", reason="r", accuracy=None)],
        [record("dense"), dataclasses.replace(record("dct"), ledger=(), training=(), runtimes=())],
        [record("dense"), dataclasses.replace(record("dct"), label="a" * 5000)],
        [record("dense"), dataclasses.replace(record("dct"), role="half", control_of=("gone",))],
        [dataclasses.replace(record("dense", seed=s), net=n) for s in (0, 5) for n in ("a", "b")],
    ],
    ids=["one row", "no dense", "all wrong", "a runtime failed", "bare", "huge label", "stray control", "two nets"],
)  # fmt: skip
def test_odd_runs_are_drawn(records):
    text = html_page(records, title="t", command=COMMAND)
    data = data_in(text)
    assert read(text).tags["tr"] == 1 + len(data["lines"])
    assert len(data["cases"]) == len(records)


def test_training_that_is_not_a_number_is_missing_and_controls_name_their_rows():
    log = EpochLog("dct", 1, 1, 0.1, math.nan, math.inf, 0.5, 1.0, 10)
    control = dataclasses.replace(record("qat"), role="longer", control_of=("dct",))
    data = data_of(page_of(of := [dataclasses.replace(record("dct"), training=(log,)), control], ""), of)
    assert data["cases"][0]["training"]["loss"] == [None]
    assert data["rows"][1]["of"] == [0]
    assert "extra epochs" in data["rows"][1]["control"]


def test_how_chains_were_chosen_is_on_the_page(tmp_path):
    match = {
        "target": "size=8x", "asked": "prune|<b>", "status": "ok", "trials": 3, "cheap_trials": 2, "reached": 8.1,
        "label": "dct", "validation_accuracy": 0.9, "chain": "dct", "file_bytes": 1234, "reason": "",
    }  # fmt: skip
    write_json({"seed": 0, "matches": [match]}, tmp_path / "matched.json")
    records = [record("dense"), record("dct")]
    text = html_page(records, title="t", command=COMMAND, choice=matched_section(records, tmp_path))
    assert "<h3>At size 8x</h3>" in text
    assert "<b>" not in text.split("How the chains were chosen")[1].split("</details>")[0]


def test_nothing_is_fetched():
    text = html_page(example(), title="t", command=COMMAND)
    page = re.sub(r'<script type="text/plain".*?</script>', "", text, flags=re.DOTALL)
    assert re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?(?:https?:)?//[^"\')\s]*', page) == []
    assert re.findall(r"https?://[^\s\"']+", page) == ["http://www.w3.org/2000/svg'"[:-1]]
    assert len(text.encode()) < MOST_BYTES


def test_scripts_and_styles_are_short_files_that_are_all_on_the_page():
    there = {path.name for kind in ("*.js", "*.css") for path in FOLDER.glob(kind)}
    assert there == {*SCRIPTS, *STYLES}
    for name in there:
        lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) < 300
        assert max(map(len, lines)) <= 120
        assert not any(
            re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", line) for line in lines
        )
