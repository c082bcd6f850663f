"""What a run's sweeps say by stated rules: who wins at equal bytes, and how far each method goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from reports.cells import bytes_text, markdown, pipe_table, ratio
from reports.comparisons import AtBytes, at_equal_bytes
from reports.sweep_table import LOSSES, furthest, points
from reports.sweeps import PEERS, Curve, Panel, Point

BYTES_RULE = (
    "At equal bytes: each curve's accuracy is interpolated over the logarithm of the bytes, seed by seed, and compared "
    "at every file size of either curve that lies in the range of both; better or worse means that the 95 % interval "
    "of the difference leaves zero out."
)


def bytes_table(panels: Sequence[Panel]) -> str:
    """A line a spectral method, peer and panel: at which common file sizes it is better or worse, and by how much."""
    lines = []
    for panel in panels:
        for curve, peer, sizes in _duels(panel):
            up, down = _split(sizes)
            same = len(sizes) - len(up) - len(down)
            over = f"{len(sizes)}" if sizes else "0: no common sizes"
            texts = [markdown(one) for one in (panel.name, curve.name, peer.name)]
            lines.append([*texts, over, _stretch(up) or "0", _stretch(down) or "0", str(same)])
    head = ["where", "method", "against", "sizes", "better at", "worse at", "not told apart at"]
    return pipe_table(head, lines, texts=3) if lines else ""


def bytes_sentences(panels: Sequence[Panel]) -> list[str]:
    """A sentence a panel and peer on which spectral methods win at equal bytes, by BYTES_RULE."""
    lines = []
    for panel in panels:
        for name, group in groupby(
            sorted(_duels(panel), key=lambda duel: duel[1].order), key=lambda duel: duel[1].name
        ):
            lines.append(_on_bytes(panel, name, [(curve, sizes) for curve, _, sizes in group]))
    return lines


def reach_sentences(panels: Sequence[Panel]) -> list[str]:
    """A sentence a panel and loss on how far the spectral methods and each control go."""
    lines = []
    for panel in panels:
        for loss in LOSSES:
            found = [(curve, point) for curve in panel.curves if (point := furthest(curve, loss))]
            lines.append(_on_reach(panel, loss, found))
    return lines


def _on_bytes(panel: Panel, peer: str, duels: Sequence[tuple[Curve, Sequence[AtBytes]]]) -> str:
    start = f"{markdown(panel.name)}, against `{peer}` at equal bytes: "
    met = [(curve, *_split(sizes), len(sizes)) for curve, sizes in duels if sizes]
    apart = [f"`{curve.name}`" for curve, sizes in duels if not sizes]
    better = [f"`{one.name}` at {_stretch(up)} of {count}" for one, up, _, count in met if up]
    worse = [f"`{one.name}` at {len(down)} of {count}" for one, _, down, count in met if down]
    same = [f"`{one.name}`" for one, up, down, _ in met if not up and not down]
    parts = []
    if met:
        parts.append(f"better: {'; '.join(better)}." if better else "no spectral method is better at any common size.")
        parts += [f"Worse: {', '.join(worse)}."] if worse else []
        parts += [f"Nowhere told apart: {', '.join(same)}."] if same else []
    if apart:
        parts.append(f"No file sizes in common: {', '.join(apart)}.")
    return start + " ".join(parts)


def _on_reach(panel: Panel, loss: float, found: Sequence[tuple[Curve, Point]]) -> str:
    start = f"{markdown(panel.name)}, at most {points(loss)} below dense: "
    if not found:
        return start + "no row."
    spectral = [(curve, point) for curve, point in found if curve.is_basis]
    top = max((point.ratio for _, point in spectral), default=0.0)
    best = [one for one in spectral if one[1].ratio >= 0.999 * top]
    texts = [f"the furthest of the spectral methods: {_furthest(best)}"] if best else []
    texts += [_furthest([one]) for one in found if not one[0].is_basis]
    return start + "; ".join(texts) + "."


def _furthest(rows: Sequence[tuple[Curve, Point]]) -> str:
    names = ", ".join(f"`{curve.name}` ({point.text})" for curve, point in rows)
    return f"{names} at {ratio(rows[0][1].ratio)}"


def _duels(panel: Panel) -> Iterator[tuple[Curve, Curve, list[AtBytes]]]:
    for curve in panel.curves:
        for other in panel.curves:
            if curve.is_basis and other.method in PEERS and other.stages[1:] == curve.stages[1:]:
                yield curve, other, at_equal_bytes(curve, other)


def _split(sizes: Sequence[AtBytes]) -> tuple[list[AtBytes], list[AtBytes]]:
    return [one for one in sizes if one.difference.better], [one for one in sizes if one.difference.worse]


def _stretch(sizes: Sequence[AtBytes]) -> str:
    """Where and by how much: 3 sizes (12.3 kB to 20.1 kB, by 1.2 to 3.4 points)."""
    if not sizes:
        return ""
    amounts = sorted(abs(100 * one.difference.mean) for one in sizes)
    where = _range(bytes_text(sizes[0].file_bytes), bytes_text(sizes[-1].file_bytes))
    by = _range(f"{amounts[0]:.2f}", f"{amounts[-1]:.2f}")
    return f"{len(sizes)} size{'s' * (len(sizes) > 1)} ({where}, by {by} points)"


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
