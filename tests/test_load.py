"""What many cases cost: the counting of it."""

import pytest

from bench.load import Load, page, run_load


def test_work_is_told_from_what_is_between_it(tmp_path):
    load, records = run_load(11, tmp_path)
    assert load.cases == len(records) == 11
    assert {one.status for one in records} == {"ok"}
    assert len({one.sha256 for one in records}) == 11  # each row is its own file
    assert 0 < load.work_s < load.total_s
    assert set(load.memory) == {10, 11}
    text = page(load, 1.0, 50_000_000)
    assert f"{1e3 * load.overhead_s:.1f} ms" in text
    assert "50 MB" in text


@pytest.mark.parametrize(("overhead", "memory", "missed"), [(0.01, 1, 0), (0.06, 1, 1), (0.06, 301_000_000, 2)])
def test_goals_that_are_missed_are_said_to_be(overhead, memory, missed):
    load = Load(100, total_s=100 * overhead + 5, work_s=5.0, memory={10: 1, 100: 2})
    assert page(load, 1.0, memory).count("not met") == missed
