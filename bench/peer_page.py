"""The page that holds our quantised files beside ONNX Runtime's: tables, and verdicts by one rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.intervals import over_seeds, paired_difference, wilson

Kind = Literal["dense", "peer", "ours"]
Verdict = Literal["ours is better", "no difference is shown", "the peer is better"]

RULE = """Difference: accuracy of ours less accuracy of the peer on the same test images, in points, with its 95 %
interval from the images that only one of the two gets right (Bonett and Price 2012, for paired proportions). Rule:
"ours is better" where the interval lies above zero, "the peer is better" where it lies below, else "no difference is
shown"; how large a difference that leaves open is what the interval tells. Of networks that are truly alike, chance
puts about one comparison in 40 on either side."""

_OVER_SEEDS = [
    "Of the seeds: how many say that ours is better / that no difference is shown / that the peer is better. Over",
    "seeds: mean of the differences and its Student's t interval, in which their standard deviation counts as one test",
    "image at least; the same rule.",
    "",
    "| network | ours | runtime | peer | seeds | of them | mean difference | 95 % over seeds | verdict |",
    "|---|---|---|---|---|---|---|---|---|",
]


@dataclass(frozen=True)
class Scored:
    """A file scored over the test split in one runtime."""

    name: str  # the label, or the peer with its calibration
    kind: Kind
    runtime: str
    predictions: NDArray[np.uint16]  # [n]
    hits: NDArray[np.bool_]  # [n]
    onnx_bytes: int  # of the exported file; 0 where the runtime runs the artifact itself
    kernels: str

    @property
    def share(self) -> float:
        """Accuracy, as a fraction."""
        return float(self.hits.mean())


@dataclass(frozen=True)
class Gap:
    """Ours against a peer on the same images; accuracies as fractions."""

    ours: Scored
    peer: Scored

    @property
    def only(self) -> tuple[int, int]:
        """Images that only ours, and only the peer, gets right."""
        ours, peer = self.ours.hits, self.peer.hits
        return int((ours & ~peer).sum()), int((peer & ~ours).sum())

    @property
    def difference(self) -> float:
        return self.ours.share - self.peer.share

    @property
    def interval(self) -> tuple[float, float]:
        return paired_difference(*self.only, len(self.ours.hits))


def gaps(found: Sequence[Scored]) -> list[Gap]:
    """Each of ours against each peer."""
    return [Gap(ours, peer) for ours in found if ours.kind == "ours" for peer in found if peer.kind == "peer"]


def verdict(low: float, high: float) -> Verdict:
    """What the interval of a difference, ours less the peer's, says."""
    return "ours is better" if low > 0 else "the peer is better" if high < 0 else "no difference is shown"


def group_section(title: str, files: Sequence[str], found: Sequence[Scored]) -> list[str]:
    """What was found of one dense file, the first of `found`; `files` says what each file is."""
    dense = found[0]
    lines = ["", f"## {title}", "", *(f"- {line}" for line in files), "", f"{len(dense.hits):,} test images.", ""]
    lines += ["| file | runtime | accuracy % | 95 % (Wilson) | loss, points | agrees with dense % | onnx bytes |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for one in found:
        low, high = wilson(int(one.hits.sum()), len(one.hits))
        agreement = float((one.predictions == dense.predictions).mean())
        cells = [one.name, one.runtime, f"{100 * one.share:.2f}", f"{100 * low:.2f} to {100 * high:.2f}",
                 f"{100 * (dense.share - one.share):.2f}", f"{100 * agreement:.2f}",
                 f"{one.onnx_bytes:,}" if one.onnx_bytes else ""]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| ours | runtime | peer | only ours right | only the peer right | difference | 95 % | verdict |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for gap in gaps(found):
        low, high = gap.interval
        cells = [gap.ours.name, gap.ours.runtime, gap.peer.name, *map(str, gap.only), f"{100 * gap.difference:+.2f}",
                 _points(low, high), verdict(low, high)]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Kernels, as each runtime reports them:", ""]
    return lines + [f"- {one.name} in {one.runtime}: {one.kernels}" for one in found]


def summary_section(found: Sequence[tuple[str, Sequence[Scored]]]) -> list[str]:
    """What holds of all groups; `found`: network with data set, and what was scored, of each seed."""
    lines: list[str] = []
    behind: dict[tuple[str, str, str], list[str]] = {}  # net, ours, runtime -> peers that are better
    lowest: dict[tuple[str, str, str], float] = {}
    for (net, ours, runtime, peer), of_seeds in _by_comparison(found).items():
        verdicts = [verdict(*gap.interval) for gap in of_seeds]
        if len(of_seeds) > 1:
            spread = over_seeds([gap.difference for gap in of_seeds], smallest_std=1 / len(of_seeds[0].ours.hits))
            counts = " / ".join(str(verdicts.count(word)) for word in get_args(Verdict))
            verdicts.append(verdict(spread.low, spread.high))
            cells = [net, ours, runtime, peer, str(len(of_seeds)), counts, f"{100 * spread.mean:+.2f}",
                     _points(spread.low, spread.high), verdicts[-1]]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        key = net, ours, runtime
        behind.setdefault(key, []).extend([peer] if "the peer is better" in verdicts else [])
        lowest[key] = min(lowest.get(key, 0.0), *(gap.interval[0] for gap in of_seeds))
    return ["", "## Summary", "", *([*_OVER_SEEDS, *lines, ""] if lines else []),
            *(_conclusion(*key, peers, lowest[key]) for key, peers in behind.items())]  # fmt: skip


def _by_comparison(found: Sequence[tuple[str, Sequence[Scored]]]) -> dict[tuple[str, str, str, str], list[Gap]]:
    """The gaps of all seeds, by network, ours, its runtime and peer."""
    by_key: dict[tuple[str, str, str, str], list[Gap]] = {}
    for net, scored in found:
        for gap in gaps(scored):
            by_key.setdefault((net, gap.ours.name, gap.ours.runtime, gap.peer.name), []).append(gap)
    return by_key


def _conclusion(net: str, ours: str, runtime: str, behind: list[str], lowest: float) -> str:
    """`lowest`: the lower end of the intervals of all seeds and peers."""
    subject = f"- {net}: {ours} in {runtime}"
    if behind:
        return f"{subject} is shown to be worse, in some seed or over them, than {', '.join(behind)}."
    return (f"{subject} agrees with every peer within the interval, or is better, in each seed and over them. The "
            f"intervals of single seeds leave open that it is up to {-100 * lowest:.2f} points below one.")  # fmt: skip


def _points(low: float, high: float) -> str:
    return f"{100 * low:+.3f} to {100 * high:+.3f}"
