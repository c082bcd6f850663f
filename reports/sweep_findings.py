"""What a run's sweeps say, as sentences by stated rules: does the basis matter, and who wins at equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from reports.cells import bytes_text, markdown, pipe_table, ratio
from reports.comparisons import AtBytes, Difference, Setting, at_equal_bytes, at_settings, counterpart, over_settings
from reports.statistics import beyond_chance
from reports.sweep_table import LOSSES, furthest, points
from reports.sweeps import PEERS, RANDOM, Curve, Panel, Point

BASIS_RULE = (
    f"A basis counts as better than `{RANDOM}` where the 95 % interval of its mean gain over the compared settings "
    "lies above zero and it is better outside the interval at one setting at least, or where it is so at more settings "
    "than chance explains (2.5 % each, together less likely than 5 %); as worse likewise. Settings are compared at the "
    "same value, seed by seed; of one seed the interval is that of the test images alone, and says nothing of another "
    "training."
)
BYTES_RULE = (
    "At equal bytes: each curve's accuracy is interpolated over the logarithm of the bytes, seed by seed, and compared "
    "at every file size of either curve that lies in the range of both; better or worse means that the 95 % interval "
    "of the difference leaves zero out."
)


@dataclass(frozen=True)
class Gain:
    """A basis beside the random one in one panel."""

    curve: Curve
    control: Curve
    settings: tuple[Setting, ...]
    mean: Difference

    @property
    def up(self) -> list[Setting]:
        """Where the basis is better outside the interval."""
        return [one for one in self.settings if one.difference.better]

    @property
    def down(self) -> list[Setting]:
        """Where it is worse outside the interval."""
        return [one for one in self.settings if one.difference.worse]

    @property
    def better(self) -> bool:
        """BASIS_RULE."""
        return (self.mean.better and bool(self.up)) or beyond_chance(len(self.up), len(self.settings))

    @property
    def worse(self) -> bool:
        """BASIS_RULE."""
        return (self.mean.worse and bool(self.down)) or beyond_chance(len(self.down), len(self.settings))

    @property
    def verdict(self) -> str:
        """What the rule says, in a word or three."""
        both = {(True, False): "better", (False, True): "worse", (True, True): "better and worse"}
        return both.get((self.better, self.worse), "not told apart")


def gains(panel: Panel) -> list[Gain]:
    """Each basis of the panel that has a random one to be compared with."""
    found = []
    for curve in panel.curves:
        control = counterpart(panel, curve, RANDOM) if curve.is_basis else None
        mean = over_settings(curve, control) if control else None
        if control and mean:
            found.append(Gain(curve, control, tuple(at_settings(curve, control)), mean))
    return found


def basis_table(panels: Sequence[Panel]) -> str:
    """A line a basis and panel: how often it differs from the random basis, and by how much on average."""
    lines = [
        [
            markdown(panel.name),
            markdown(one.curve.name),
            str(len(one.settings)),
            _values(one.up) or "0",
            _values(one.down) or "0",
            _points(one.mean),
            one.verdict,
        ]
        for panel in panels
        for one in gains(panel)
    ]
    head = ["where", "basis", "settings", "better at", "worse at", "mean gain, points (95 %)", "verdict"]
    return pipe_table(head, lines, texts=2) if lines else ""


def basis_sentences(panels: Sequence[Panel]) -> list[str]:
    """A sentence a panel on whether the basis matters, by BASIS_RULE."""
    return [_on_basis(panel, found) for panel in panels if (found := gains(panel))]


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


def _on_basis(panel: Panel, found: Sequence[Gain]) -> str:
    better, worse = [one for one in found if one.better], [one for one in found if one.worse]
    told = [one for one in found if one not in better and one not in worse]
    start = f"{markdown(panel.name)}: "
    if not better and not worse:
        room = max(max(-one.mean.low, one.mean.high) for one in found)
        text = (
            f"**the basis does not matter here**: none of {_names(found)} is told apart from {_control(found)} at "
            f"{_settings(found)}; the intervals leave room for a mean difference of {100 * room:.2f} points at most."
        )
    elif not better:
        text = f"**no basis is better than the random one here**: worse than {_control(found)}: {_each(worse)}."
    else:
        most = max(one.mean.mean for one in better)
        text = f"the basis matters here, by {100 * most:.2f} points on average at most: better than {_control(found)}: "
        text += f"{_each(better)}."
        only_worse = [one for one in worse if one not in better]
        text += f" Worse: {_each(only_worse)}." if only_worse else ""
    if told and (better or worse):
        text += f" Not told apart from it: {_names(told)}."
    cosine = [one for one in found if one.curve.method == "dct" and not one.better]
    if cosine:
        text += f" **The cosine basis ({_names(cosine)}) is no better than {_control(cosine)}**: {_each(cosine)}."
    return start + text


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


def _values(settings: Sequence[Setting]) -> str:
    """How many, and which: 2 (keep=0.25, 0.125)."""
    return f"{len(settings)} ({_listed(settings)})" if settings else ""


def _listed(settings: Sequence[Setting]) -> str:
    key = settings[0].text.partition("=")[0]
    return markdown(f"{key}={', '.join(one.text.partition('=')[2] for one in settings)}")


def _settings(found: Sequence[Gain]) -> str:
    together = {one.text: one for gain in found for one in gain.settings}
    seeds = sorted({one.difference.seeds for one in together.values()})
    counted = f"{seeds[0]} seed" + "s" * (seeds[0] > 1) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    ordered = sorted(together.values(), key=lambda one: -one.value)
    return f"the same setting ({_listed(ordered)}; {counted})"


def _names(found: Sequence[Gain]) -> str:
    return ", ".join(f"`{one.curve.name}`" for one in found)


def _control(found: Sequence[Gain]) -> str:
    return ", ".join(dict.fromkeys(f"`{one.control.name}`" for one in found))


def _each(found: Sequence[Gain]) -> str:
    return "; ".join(
        f"`{one.curve.name}` by {_points(one.mean)} points on average, outside the interval above at "
        f"{_values(one.up) or 0} and below at {_values(one.down) or 0} of {len(one.settings)}"
        for one in found
    )


def _points(gap: Difference) -> str:
    return f"{100 * gap.mean:+.2f} ({100 * gap.low:+.2f} to {100 * gap.high:+.2f})"
