"""The ledger's table, lines and figure account for every byte, also of many rows and of old records."""

from __future__ import annotations

import dataclasses
import io

import pandas as pd
import pytest
from matplotlib.figure import Figure

from bench.records import RunRecord, TensorEntry
from reports.ledger import MOST_BARS, PARTS, byte_parts, ledger_frame, ledger_markdown, ledger_section, parts_of
from reports.page import page
from reports.style import styled
from reports.table import csv_text
from tests.records_example import example, failed, record
from tests.test_report_figures import SETS, check_texts, crowd


def old(one: RunRecord) -> RunRecord:
    """The record as it was before parts were told apart."""
    lines = tuple(TensorEntry(*list(dataclasses.astuple(entry))[:8]) for entry in one.ledger)
    return dataclasses.replace(one, ledger=lines)


def drawn(records: list[RunRecord]) -> Figure:
    with styled():
        return byte_parts(records)


def test_parts_sum_to_the_file() -> None:
    for one in example():
        assert sum(parts_of(one).values()) == one.file_bytes
    assert parts_of(old(record("dct"))) == {}
    assert parts_of(failed("x")) == {}


def test_lines_sum_to_the_files_and_come_back_from_csv() -> None:
    records = [*example((0, 1)), failed("x")]
    table = pd.read_csv(io.StringIO(csv_text(ledger_frame(records))))
    assert len(table) == sum(len(one.ledger) for one in records)
    for one in records[:-1]:
        lines = table[(table["chain"] == one.chain) & (table["seed"] == one.seed)]
        assert lines["bytes"].sum() == lines[list(PARTS)].to_numpy().sum() == one.file_bytes
        assert lines["parameters"].sum() == one.parameters
        assert lines["nonzeros"].sum() == one.nonzeros
        assert lines["information_bits"].sum() == pytest.approx(one.information_bits)
    assert list(ledger_frame([]).columns) == list(table.columns)


def test_the_table_has_a_line_a_file_and_only_parts_that_some_file_has() -> None:
    records = example()
    head, _, *lines = ledger_markdown(records).strip().splitlines()
    assert len(lines) == len(records)
    assert "positions" in head
    assert "codebooks" not in head
    for one, line in zip(records, lines, strict=True):
        assert f"| {one.file_bytes:,} |" in line


def test_the_container_is_no_information_in_older_records_either() -> None:
    """Bytes held against themselves would bring the ratio of file and information towards one."""
    one = record("dct")
    container, *tensors = one.ledger
    assert container.information_bits == 0
    counted = dataclasses.replace(container, information_bits=8.0 * container.bytes)
    older = dataclasses.replace(one, ledger=(counted, *tensors), information_bits=one.information_bits + 72_000)
    assert ledger_markdown([older]) == ledger_markdown([one])
    assert f"| {one.information_bits / 8:,.0f} |" in ledger_markdown([one])


@pytest.mark.parametrize("records", [[], [failed("x")], [old(record("dense")), old(record("dct"))]])
def test_where_no_record_tells_parts_apart_there_is_no_section(records: list[RunRecord]) -> None:
    assert ledger_section(records) == ""
    assert "Where the bytes are\n\n" not in page(records, title="t", command="c")
    assert any("no row" in text.get_text() for text in drawn(records).texts)


def test_bars_are_shares_of_the_file() -> None:
    records = example()
    axes = drawn(records).axes[0]
    widths: dict[float, float] = {}
    for bar in axes.patches:
        widths[bar.get_y()] = widths.get(bar.get_y(), 0.0) + bar.get_width()
    assert len(widths) == len(records)
    assert all(width == pytest.approx(100) for width in widths.values())


@pytest.mark.parametrize("count", [1, 25, 26, 300])
def test_the_figure_stays_readable_with_many_rows(count: int) -> None:
    with styled():
        figure = byte_parts(crowd(count))
        check_texts(figure)
    assert 1 <= len(figure.axes[0].get_yticks()) <= MOST_BARS + 1
    assert len(ledger_markdown(crowd(count)).splitlines()) <= MOST_BARS + 4


def test_the_page_shows_table_and_figure() -> None:
    text = page(SETS["four"](), title="t", command="c")
    assert "## Where the bytes are" in text
    assert "figures/byte_parts.png" in text
    assert "[ledger.csv](ledger.csv)" in text
