"""Sweeps in a run: what makes one, how curves are compared, and which sentences follow."""

import dataclasses
import random
import re

import pytest

from methods import METHODS as ALL_METHODS
from methods.spectral import Spectral
from reports import draw
from reports.basis_findings import basis_sentences, basis_table
from reports.cells import ratio
from reports.chains import parse
from reports.comparisons import at_equal_bytes, at_settings, counterpart, over_settings, paired
from reports.hits import Score
from reports.page import page
from reports.statistics import beyond_chance
from reports.sweep_findings import bytes_sentences, bytes_table, reach_sentences
from reports.sweep_page import sweep_section
from reports.sweep_table import furthest, reach_table, sweep_tables
from reports.sweeps import BASES, RANDOM, Curve, Panel, interval, sweeps
from tests.records_example import example, record, sweep
from tests.sweep_example import DENSE, KEEPS, METHODS, cosine_wins, equal, plain, spectral_run, with_troubles

NO_MATTER = "the basis does not matter here"


def curve_of(panel: Panel, name: str) -> Curve:
    return next(one for one in panel.curves if one.name == name)


def test_bases_are_the_spectral_methods_without_the_control() -> None:
    spectral = {name for name, kind in ALL_METHODS.items() if issubclass(kind, Spectral)}
    assert spectral - {RANDOM} == set(BASES)


def test_three_values_of_one_number_make_a_sweep_and_two_do_not() -> None:
    assert sweeps(example()) == []
    assert sweeps(spectral_run(keeps=KEEPS[:2])) == []
    panels = sweeps(spectral_run(keeps=KEEPS[:3]))
    assert [panel.scope for panel in panels] == ["linear", "conv", "all"]
    assert all(len(panel.curves) == len(METHODS) for panel in panels)
    assert [point.text for point in curve_of(panels[0], "dct").points] == ["keep=0.125", "keep=0.25", "keep=0.5"]


def test_settings_that_are_not_swept_tell_curves_apart_and_chains_have_their_own() -> None:
    names = [curve.name for curve in sweeps(spectral_run())[0].curves]
    assert names == [
        "dct", "dst", "dft", "wavelet:family=db2", "wavelet:family=db4", "wavelet:family=haar", "wavelet:family=sym4",
        "hadamard", "random_basis", "lowrank", "prune",
    ]  # fmt: skip
    assert [curve.name for curve in sweeps(sweep())[0].curves] == ["dct", "prune", "prune+qat"]


def test_of_two_numbers_the_one_with_more_values_is_swept() -> None:
    chains = [f"qat:bits={bits}:lr_scale={scale}" for bits in (8, 6, 4, 2) for scale in (0.1, 0.2, 0.3)]
    [panel] = sweeps([record(chain, like="qat") for chain in chains])
    assert [curve.name for curve in panel.curves] == [f"qat:lr_scale={scale}" for scale in (0.1, 0.2, 0.3)]
    assert {point.text.partition("=")[0] for curve in panel.curves for point in curve.points} == {"bits"}


def test_a_row_that_leaves_the_swept_number_to_the_method_is_in_the_table_alone(tmp_path) -> None:
    chains = [f"prune:sparsity={value}" for value in (0.5, 0.8, 0.9, None)]
    records = [record("dense"), *(record(chain) for chain in chains)]
    [panel] = sweeps(records)
    assert [[point.value for point in curve.points] for curve in panel.curves] == [[0.5, 0.8, 0.9]]
    draw(records, tmp_path, title="t", command="c")
    assert "prune:sparsity=None" in (tmp_path / "table.md").read_text()


def test_text_with_colons_and_signs_is_read_back() -> None:
    assert parse("prune:sparsity=0.9+qat:bits=8") == (("prune", (("sparsity", "0.9"),)), ("qat", (("bits", "8"),)))
    assert parse("dense") == (("dense", ()),)


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (0, 1, 2)])
def test_the_order_of_records_does_not_matter(seeds: tuple[int, ...]) -> None:
    records = with_troubles(spectral_run(seeds=seeds))
    mixed = list(records)
    random.Random(1).shuffle(mixed)
    assert sweeps(mixed) == sweeps(records)
    assert sweep_section(mixed) == sweep_section(records)


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("planted", [equal, plain])
def test_a_basis_like_the_random_one_is_said_not_to_matter(planted, seeds: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    lines = basis_sentences(sweeps(spectral_run(planted, seeds=seeds)))
    assert len(lines) == 3
    for line in lines:
        assert NO_MATTER in line
        assert "cosine basis (`dct`) is no better than `random_basis`" in line
        assert "keep=0.5, 0.25, 0.125, 0.0625, 0.03125" in line


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_basis_that_is_better_is_said_to_matter_and_by_how_much(seeds: tuple[int, ...]) -> None:
    panels = sweeps(spectral_run(cosine_wins, seeds=seeds))
    for line, panel in zip(basis_sentences(panels), panels, strict=True):
        gain = over_settings(curve_of(panel, "dct"), curve_of(panel, "random_basis"))
        assert gain is not None
        assert NO_MATTER not in line
        assert "no better" not in line
        assert f"better than `random_basis`: `dct` by +{100 * gain.mean:.2f}" in line
    assert basis_table(panels).count("| better |") == 3


def test_a_cosine_basis_that_is_worse_is_said_to_be_no_better() -> None:
    lines = basis_sentences(sweeps(spectral_run(lambda *row: plain(*row) - 0.03 * (row[0] == "dct"), seeds=(0, 1, 2))))
    for line in lines:
        assert NO_MATTER not in line
        assert "no basis is better than the random one here" in line
        assert "cosine basis (`dct`) is no better" in line


def test_a_cosine_basis_like_the_random_one_is_named_though_another_is_better() -> None:
    lines = basis_sentences(sweeps(spectral_run(lambda *row: equal(*row) + 0.02 * (row[0] == "dst"))))
    for line in lines:
        assert "the basis matters here" in line
        assert "better than `random_basis`: `dst`" in line
        assert "cosine basis (`dct`) is no better" in line


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_basis_that_wins_here_and_loses_there_is_called_mixed_and_not_better(seeds: tuple[int, ...]) -> None:
    def mixed(method: str, scope: str, keep: float, seed: int) -> float:
        return plain(method, scope, keep, seed) + (method == "dct") * (0.05 if keep < 0.1 else -0.05)

    panels = sweeps(spectral_run(mixed, seeds=seeds, methods=("dct", "dst", "random_basis")))
    for line in basis_sentences(panels):
        assert "no basis is better than the random one here on the whole" in line
        assert "Better at some settings and worse at others: `dct` by" in line
        assert "the basis matters here" not in line
        assert "cosine basis (`dct`) is no better" in line
    assert basis_table(panels).count("| mixed |") == 3

    def mostly_up(method: str, scope: str, keep: float, seed: int) -> float:
        return plain(method, scope, keep, seed) + (method == "dct") * (0.09 if keep < 0.2 else -0.02)

    for line in basis_sentences(sweeps(spectral_run(mostly_up, seeds=seeds, methods=("dct", "random_basis")))):
        assert "the basis matters here, by" in line
        assert "Better at some settings and worse at others: `dct` by" in line
        assert "no better" not in line


@pytest.mark.parametrize("draws", [2, 3])
def test_random_draws_are_not_swept_and_bases_are_compared_with_one_of_them(draws: int) -> None:
    records = spectral_run(equal, methods=("dct", "random_basis"), scopes=("all",), keeps=KEEPS[1:2])
    more = [
        dataclasses.replace(records[-1], chain=records[-1].chain.replace("draw=0", f"draw={draw}"))
        for draw in range(1, draws)
    ]
    assert more[0].chain != records[-1].chain
    assert NO_MATTER in sweep_section([*records, *more])


def test_few_images_that_show_no_difference_prove_nothing() -> None:
    section = sweep_section(
        spectral_run(equal, methods=("dct", "random_basis"), scopes=("all",), keeps=KEEPS[:1], seen=100)
    )
    assert NO_MATTER not in section
    assert "no difference is shown here" in section


def test_without_a_random_basis_nothing_is_said_of_bases() -> None:
    records = spectral_run(methods=("dct", "dst", "prune"))
    assert basis_sentences(sweeps(records)) == []
    assert "basis matter" not in sweep_section(records)
    assert bytes_sentences(sweeps(spectral_run(methods=("dct", "random_basis")))) == []
    assert sweep_section(example()) == ""


@pytest.mark.parametrize("keeps", [KEEPS[:1], KEEPS[:2]])
def test_a_random_basis_is_compared_with_where_nothing_is_swept(keeps: tuple[float, ...]) -> None:
    for planted, verdict in ((equal, NO_MATTER), (cosine_wins, "the basis matters here")):
        records = spectral_run(planted, methods=("dct", "random_basis"), scopes=("all",), keeps=keeps)
        section = sweep_section(records)
        assert section.startswith("## Does the basis matter?")
        assert verdict in section
        assert "sweep_gain.png" not in section
        assert "## Does the basis matter?" in page(records, title="run", command="python run_bench.py")
    assert sweep_section(spectral_run(methods=("dct", "dst", "prune"), keeps=keeps)) == ""


def test_a_sweep_is_compared_with_the_random_basis_of_single_rows() -> None:
    swept = spectral_run(methods=("dct",), scopes=("all",))
    section = sweep_section([*swept, *spectral_run(methods=("random_basis",), scopes=("all",), keeps=KEEPS[1:2])[1:]])
    assert section.startswith("## Sweeps")
    assert "### Does the basis matter?" in section
    assert f"(keep={KEEPS[1]:g}" in section


def test_only_the_random_basis_with_the_same_settings_is_a_counterpart() -> None:
    records = spectral_run(methods=("dct", "random_basis"), scopes=("conv",))
    other = [dataclasses.replace(r, chain=r.chain.replace("calibration=256", "calibration=0")) for r in records]
    [panel] = sweeps([*records[:6], *other[6:]])
    assert counterpart(panel, curve_of(panel, "dct"), RANDOM) is None
    [panel] = sweeps(records)
    assert counterpart(panel, curve_of(panel, "dct"), RANDOM) is curve_of(panel, "random_basis")


def test_files_of_other_sizes_are_not_compared_at_the_same_setting() -> None:
    records = spectral_run(methods=("dct", "random_basis"), scopes=("all",))
    smaller = [dataclasses.replace(r, file_bytes=r.file_bytes // 2) if "dct" in r.chain else r for r in records]
    assert len(basis_sentences(sweeps(records))) == 1
    assert basis_sentences(sweeps(smaller)) == []


def test_differences_turn_with_their_sides_and_are_those_planted() -> None:
    for seeds in ((0,), (0, 1), (0, 1, 2)):
        [panel] = sweeps(spectral_run(cosine_wins, scopes=("conv",), seeds=seeds))
        dct, control = curve_of(panel, "dct"), curve_of(panel, "random_basis")
        for there, back in zip(at_settings(dct, control), at_settings(control, dct), strict=True):
            gap, turned = there.difference, back.difference
            assert (gap.low, gap.mean, gap.high) == pytest.approx((-turned.high, -turned.mean, -turned.low))
            assert gap.low <= gap.mean <= gap.high
            assert gap.seeds == len(seeds)
        for there, back in zip(at_equal_bytes(dct, control), at_equal_bytes(control, dct), strict=True):
            assert there.file_bytes == back.file_bytes
            assert there.difference.mean == pytest.approx(-back.difference.mean)


def test_the_same_difference_of_one_image_in_three_seeds_proves_nothing() -> None:
    pairs = [(Score(0.9 + 1 / 360, 360), Score(0.9, 360))] * 3
    assert not paired(pairs).better
    assert paired([(Score(0.95, 360), Score(0.9, 360))] * 3).better


def test_at_equal_bytes_a_curve_is_as_good_as_itself_and_sizes_lie_in_both_ranges() -> None:
    panel = sweeps(spectral_run(seeds=(0, 1, 2)))[2]
    for name in METHODS[:3]:
        assert {one.difference.mean for one in at_equal_bytes(curve_of(panel, name), curve_of(panel, name))} == {0.0}
    dct, prune = curve_of(panel, "dct"), curve_of(panel, "prune")
    sizes = [one.file_bytes for one in at_equal_bytes(dct, prune)]
    assert sizes == sorted(sizes)
    assert min(sizes) >= max(dct.measured[0].file_bytes, prune.measured[0].file_bytes)
    assert max(sizes) <= min(dct.measured[-1].file_bytes, prune.measured[-1].file_bytes)
    assert at_equal_bytes(dct, dataclasses.replace(prune, points=())) == []


def test_who_wins_at_equal_bytes_is_who_was_planted() -> None:
    worse = bytes_sentences(sweeps(spectral_run(seeds=(0, 1, 2))))
    assert len(worse) == 6
    assert all("no spectral method is better at any common size" in line for line in worse)
    panels = sweeps(spectral_run(cosine_wins, scopes=("all",), seeds=(0, 1, 2)))
    against_lowrank = bytes_sentences(panels)[0]
    assert re.search(r"against `lowrank` at equal bytes: better: `dct` at \d sizes? \(", against_lowrank)
    assert bytes_table(panels).count("\n") == 2 + 2 * 8
    apart = spectral_run(methods=("dct",), scopes=("all",), keeps=(0.5, 0.4, 0.3))
    apart += spectral_run(methods=("prune",), scopes=("all",), keeps=(0.06, 0.05, 0.04))[1:]
    [line] = bytes_sentences(sweeps(apart))
    assert line.endswith("against `prune` at equal bytes: No file sizes in common: `dct`.")


def test_how_far_a_method_goes_is_the_largest_ratio_within_the_loss() -> None:
    panel = sweeps(spectral_run(seeds=(0, 1, 2)))[2]
    for curve in panel.curves:
        for loss in (0.003, 0.01, 0.05):
            found = furthest(curve, loss)
            within = [point.ratio for point in curve.measured if point.lost <= loss]
            assert (found.ratio if found else None) == max(within, default=None)
    assert "no row" in reach_sentences(sweeps(spectral_run(lambda *row: 0.5)))[0]
    assert reach_table([panel]).count("\n") == 2 + len(METHODS)


def test_cells_hold_accuracy_bytes_and_ratio_and_trouble_is_named() -> None:
    records = with_troubles(spectral_run(scopes=("all",)))
    [panel] = sweeps(records)
    lines = sweep_tables([panel]).splitlines()
    [head] = [line for line in lines if line.startswith("| method")]
    assert head == "| method | 1/2 kept | 1/4 kept | 1/8 kept | 1/16 kept | 1/32 kept |"
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in lines if "|" in line}
    for curve in panel.curves:
        for point, cell in zip(reversed(curve.points), cells[curve.name.replace("_", "\\_")], strict=True):
            if curve.method == "prune":
                continue
            if not point.samples:
                assert cell == point.trouble
            else:
                assert f"{100 * interval(point.samples)[0]:.2f} ±" in cell
                assert cell.endswith(f", {ratio(point.ratio)}")
    assert {"failed", "refused"} <= {cell for row in cells.values() for cell in row}


def test_the_best_of_a_column_is_bold_and_equals_are_not() -> None:
    best = sweep_tables(sweeps(spectral_run(cosine_wins, scopes=("conv",), seeds=(0, 1, 2))))
    assert best.count("| **") >= 4
    assert all("**" not in line.partition(" | ")[2] for line in best.splitlines() if line.startswith("| dst"))
    same = sweep_tables(sweeps(spectral_run(equal, scopes=("conv",))))
    assert "| **" not in same


def test_missing_seeds_are_said_and_compared_on_those_in_common() -> None:
    records = [r for r in spectral_run(scopes=("conv",), seeds=(0, 1, 2)) if r.seed < 2 or "dct" not in r.chain]
    [panel] = sweeps(records)
    found = at_settings(curve_of(panel, "dct"), curve_of(panel, "random_basis"))
    assert {one.difference.seeds for one in found} == {2}
    broken = with_troubles(spectral_run(scopes=("conv",), seeds=(0, 1, 2)))
    assert "2 of 3 seeds" in sweep_tables(sweeps(broken))


def test_a_sweep_without_dense_or_without_any_good_row_still_makes_a_page() -> None:
    records = [one for one in spectral_run(scopes=("conv",)) if one.chain != "dense"]
    assert "no row" in page(records, title="t", command="c")
    bad = [dataclasses.replace(one, status="failed", runtimes=(), file_bytes=0) for one in records]
    assert "## Sweeps" not in page(bad, title="t", command="c")


def test_intervals_are_wilsons_one_deviation_or_students() -> None:
    [panel] = sweeps(spectral_run(scopes=("conv",), seeds=(0, 1, 2)))
    samples = curve_of(panel, "dct").points[0].samples
    shares = [one.share for one in samples]
    mean, low, high = interval(samples[:2])
    assert high - mean == pytest.approx(mean - low) == pytest.approx(abs(shares[0] - shares[1]) / 2**0.5)
    assert mean == pytest.approx(sum(shares[:2]) / 2)
    for count in (1, 2, 3):
        mean, low, high = interval(samples[:count])
        assert 0 <= low <= mean <= high <= 1
    assert interval(panel.dense) == pytest.approx((DENSE, DENSE, DENSE))


def test_chance_explains_one_of_five_and_not_two() -> None:
    assert not beyond_chance(0, 5)
    assert not beyond_chance(1, 5)
    assert beyond_chance(2, 5)
    assert beyond_chance(1, 1)
    assert not any(beyond_chance(0, trials) for trials in range(9))
