"""Does the basis matter? Each basis of a run's sweeps beside random_basis, and what that says by a stated rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.cells import markdown, pipe_table
from reports.comparisons import Difference, Setting, at_settings, counterpart, over_settings
from reports.statistics import beyond_chance
from reports.sweeps import RANDOM, Curve, Panel

BASIS_RULE = (
    f"A basis counts as better than `{RANDOM}` where the 95 % interval of its mean gain over the compared settings "
    "lies above zero and it is better outside the interval at one setting at least, or where it is so at more settings "
    "than chance explains (2.5 % each, together less likely than 5 %); as worse likewise; as mixed where both hold. "
    "Settings are compared at the same value, seed by seed, where the files differ by at most 5 %; of one seed the "
    "interval is that of the test images alone, and says nothing of another training."
)


_NARROW = 0.01  # of accuracy: with an interval that leaves room for more, nothing is said not to matter


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
        both = {(True, False): "better", (False, True): "worse", (True, True): "mixed"}
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


def _on_basis(panel: Panel, found: Sequence[Gain]) -> str:
    better, worse, mixed, equal = (
        [one for one in found if one.verdict == word] for word in ("better", "worse", "mixed", "not told apart")
    )
    start = f"{markdown(panel.name)}: "
    winners = [*better, *(one for one in mixed if one.mean.better)]  # on average at least
    if len(equal) == len(found):
        room = max(max(-one.mean.low, one.mean.high) for one in found)
        head = "**the basis does not matter here**" if room <= _NARROW else "**no difference is shown here**"
        text = (
            f"{head}: none of {_names(found)} is told apart from {_control(found)} at "
            f"{_settings(found)}; the intervals leave room for a mean difference of {100 * room:.2f} points at most."
        )
    elif not winners:
        text = f"**no basis is better than the random one here{' on the whole' if mixed else ''}**"
        text += f": worse than {_control(found)}: {_each(worse)}." if worse else "."
    else:
        most = max(one.mean.mean for one in winners)
        text = f"the basis matters here, by {100 * most:.2f} points on average at most"
        text += f": better than {_control(found)}: {_each(better)}." if better else "."
        text += f" Worse: {_each(worse)}." if worse else ""
    if mixed:
        text += f" Better at some settings and worse at others: {_each(mixed)}."
    if equal and len(equal) < len(found):
        text += f" Not told apart from it: {_names(equal)}."
    cosine = [one for one in found if one.curve.method == "dct" and one not in winners]
    if cosine:
        text += f" **The cosine basis ({_names(cosine)}) is no better than {_control(cosine)}**: {_each(cosine)}."
    return start + text


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
