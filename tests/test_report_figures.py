"""Figures: their texts, their axes, and where labels go."""

import dataclasses
import math
import re
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.records import Accuracy, EpochLog, Measurement, RunRecord
from reports.crowd import front
from reports.figures import FIGURES, figures_of
from reports.labels import Box, arrange, measured
from reports.layers import bytes_by_layer
from reports.style import looks, new_figure, settle, styled, ticks
from reports.sweep_figures import curve_looks
from reports.sweeps import sweeps
from tests.records_example import KINDS, densenet_layers, example, failed, record, sweep, with_runtime
from tests.sweep_example import METHODS, equal, plain, spectral_run, with_troubles


@given(st.floats(1e-6, 1e6), st.floats(1.5, 1e15))
def test_an_axis_has_three_to_nine_marks_that_can_be_told_apart(low: float, span: float) -> None:
    marks = ticks(low, low * span)
    assert 3 <= len(marks) <= 9
    assert low <= marks[0] < marks[-1] <= low * span
    assert len({f"{mark:g}" for mark in marks}) == len(marks)
    assert marks == sorted(marks)


def crowd(count: int, name: str = "dct:keep=0.25:number={}") -> list[RunRecord]:
    """Dense and `count` rows at one place."""
    kind = {"like": "dct", "accuracy": 0.97, "share": 0.25, "speed": 0.62, "runtimes": ("eager",)}
    rows = [record(name.format(i), **kind) for i in range(count)]  # type: ignore[arg-type]
    return [record("dense"), *rows]


def nothing_finite() -> list[RunRecord]:
    broken = Measurement("latency", "s", (math.nan, math.nan), {"batch": 1})
    log = EpochLog("dense", 1, 1, 0.1, math.nan, math.nan, math.nan, 1.0, 10)
    one = dataclasses.replace(record("dense"), training=(log,))
    return [with_runtime(one, "eager", accuracy=Accuracy(0, 0, 0), measurements=(broken,)), failed("x")]


LONG = "prune:sparsity={}:layers=convolutional:scope=global:schedule=cubic+qat:bits=8:per_channel=true"


def steep(method: str, scope: str, keep: float, seed: int) -> float:
    """Accuracies from dense to chance, and small differences beside large ones."""
    return max(0.1, plain(method, scope, keep, seed) - 0.02 * (1 / keep - 1) * (method in ("dst", "hadamard")))


SETS = {
    "four": example,
    "sweep": sweep,
    "seeds": lambda: example((0, 1, 2), runtimes=("eager",)),
    "crowd of 30": lambda: crowd(30),
    "long names": lambda: crowd(8, LONG),
    "one row": lambda: [record("dense", runtimes=("eager",))],
    "one row of two seeds": lambda: [record("dense", seed=seed, runtimes=("eager",)) for seed in (0, 1)],
    "no dense": lambda: [record("qat"), record("dct")],
    "all failed": lambda: [failed("dense"), failed("x")],
    "nothing": list,
    "nothing finite": nothing_finite,
    "all right and all wrong": lambda: [
        record("dense", accuracy=1.1, runtimes=("eager",)),
        record("dct", accuracy=-1.0),
    ],
    "spectral, three seeds": lambda: with_troubles(spectral_run(steep, seeds=(0, 1, 2))),
    "spectral, equal": lambda: spectral_run(equal, scopes=("conv",)),
    "spectral, one basis": lambda: spectral_run(
        methods=("dct", "random_basis"), scopes=("all",), keeps=(0.5, 0.4, 0.3)
    ),
    "spectral, two seeds without controls": lambda: spectral_run(methods=METHODS[:4], scopes=("conv",), seeds=(0, 1)),
    "120 layers": lambda: [record(chain, layers=densenet_layers(), runtimes=("eager",)) for chain in KINDS],
}


def drawn_texts(figure: Figure) -> list[Text]:
    """Every text that is seen: titles, labels, ticks inside their axes, legends, free text."""
    found = [*figure.texts]
    for legend in figure.legends:
        found += [*legend.get_texts(), legend.get_title()]
    for axes in figure.axes:
        if axes.get_visible():
            found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                found += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    return [text for text in dict.fromkeys(found) if text.get_visible() and text.get_text().strip()]


def check_texts(figure: Figure) -> None:
    """No two texts overlap, none leaves the figure, and free text in axes stays inside them."""
    settle(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [(text, measured(text, renderer)) for text in drawn_texts(figure)]
    for text, box in boxes:
        assert box.x0 >= -0.5, text
        assert box.y0 >= -0.5, text
        assert box.x1 <= figure.bbox.width + 0.5, text
        assert box.y1 <= figure.bbox.height + 0.5, text
        if text.axes and text in text.axes.texts:
            inside = text.axes.get_window_extent(renderer)
            assert inside.x0 <= box.x0 <= box.x1 <= inside.x1, text
            assert inside.y0 <= box.y0 <= box.y1 <= inside.y1, text
    for (first, one), (second, other) in combinations(boxes, 2):
        assert not one.overlaps(other), (first, second)


@pytest.mark.parametrize("name", SETS)
def test_no_texts_overlap_or_leave_the_figure(name: str) -> None:
    records = SETS[name]()
    with styled():
        for draw, shown in figures_of(records).values():
            check_texts(draw(shown))


def test_overlapping_and_clipped_texts_are_caught() -> None:
    with styled():
        for places in (((0.3, 0.5), (0.32, 0.5)), ((0.99, 0.5), (0.1, 0.5))):
            figure = new_figure(6, 3)
            axes = figure.subplots()
            for place in places:
                axes.text(*place, "a long label", transform=axes.transAxes)
            with pytest.raises(AssertionError):
                check_texts(figure)


def test_every_axis_names_its_quantity_and_unit() -> None:
    with styled():
        for draw_figure in FIGURES.values():
            axes = [one for one in draw_figure(example()).axes if one.get_visible()]
            labels = [text for one in axes for text in (one.get_xlabel(), one.get_ylabel()) if text]
            assert labels
            assert all(re.search(r", (%|ms|[kMG]?B|nats)\b|epoch|, %", text) for text in labels), labels


def test_sweeps_have_their_figures_and_other_runs_do_not() -> None:
    assert set(figures_of(example())) == set(FIGURES)
    assert set(figures_of(sweep())) == {*FIGURES, "sweep_accuracy"}
    assert set(figures_of(spectral_run(scopes=("conv",)))) == {*FIGURES, "sweep_accuracy", "sweep_gain"}


def test_eleven_curves_look_different_and_controls_are_grey_and_broken() -> None:
    table = curve_looks(sweeps(spectral_run()))
    assert len(table) == len(METHODS) == len(set(table.values()))
    assert {name for name, look in table.items() if look.line != "-"} == {"random_basis", "lowrank", "prune"}
    greys = [look.colour for look in table.values() if look.line != "-"]
    assert all(len({colour[1:3], colour[3:5], colour[5:7]}) == 1 for colour in greys)
    assert all(look.line == "-" for look in curve_looks(sweeps(spectral_run(methods=("prune",)))).values())


def test_of_a_crowd_the_front_is_named_and_all_rows_are_drawn() -> None:
    records = spectral_run(scopes=("all", "conv"))
    with styled():
        axes = FIGURES["accuracy_size"](records).axes[0]
    texts = {text.get_text() for text in axes.texts}
    labels = {one.label for one in records if one.chain in front(records)}
    assert {"dense", *labels} == texts
    places = {(float(x), float(y)) for line in axes.lines for x, y in line.get_xydata()}  # type: ignore[union-attr]
    drawn = {(round(x, 3), round(y, 3)) for x, y in places}
    for one in records:
        accuracy = one.runtimes[0].accuracy
        assert accuracy is not None
        assert (round(one.file_bytes / 1e6, 3), round(100 * accuracy.correct / accuracy.seen, 3)) in {
            (round(x * factor, 3), y) for x, y in drawn for factor in (1.0, 1e-3)
        }


def test_every_point_is_named_and_chains_look_different() -> None:
    records = sweep()
    with styled():
        texts = {text.get_text() for text in drawn_texts(FIGURES["accuracy_size"](records))}
    assert {one.label for one in records} <= texts
    many = looks(crowd(65))
    assert len(set(many.values())) == len(many) == 66


SIZE = st.tuples(st.floats(5, 90), st.floats(5, 25))
SPOT = st.tuples(st.floats(0, 400), st.floats(0, 300))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SPOT, SIZE), max_size=12), st.booleans())
def test_arranged_labels_keep_the_law(
    wanted: list[tuple[tuple[float, float], tuple[float, float]]], same: bool
) -> None:
    frame_box = Box(0, 0, 400, 300)
    anchors = [(200.0, 150.0) if same else spot for spot, _ in wanted]
    points = [Box(x, y, x, y).grown(4) for x, y in anchors]
    boxes = arrange(anchors, [size for _, size in wanted], frame_box, points)
    assert boxes is not None
    for box, (_, (width, height)) in zip(boxes, wanted, strict=True):
        assert (box.x1 - box.x0, box.y1 - box.y0) == pytest.approx((width, height))
        assert min(box.x0, box.y0) >= -1e-6
        assert box.x1 <= 400 + 1e-6
        assert box.y1 <= 300 + 1e-6
        assert not any(box.overlaps(point) for point in points)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_labels_that_cannot_fit_are_not_placed() -> None:
    assert arrange([(5.0, 5.0)], [(50.0, 5.0)], Box(0, 0, 40, 40), []) is None
    assert arrange([(5.0, 5.0)] * 2, [(30.0, 30.0)] * 2, Box(0, 0, 40, 40), []) is None
    assert arrange([], [], Box(0, 0, 1, 1), []) == []


def test_layer_bytes_add_up_to_the_file() -> None:
    dense, one = record("dense"), record("dct")
    inner = tuple(dataclasses.replace(e, layer=f"{e.layer}.core") if e.layer == "fc" else e for e in one.ledger)
    totals = bytes_by_layer(dataclasses.replace(one, ledger=inner), dense)
    assert sum(totals.values()) == one.file_bytes
    assert "fc.core" not in totals
    assert totals["fc"] == sum(entry.bytes for entry in one.ledger if entry.layer == "fc")
