"""Whether int8 kernels predict what the simulation of int8 predicts, from what a run's records hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.records import ALIKE, RunRecord
from reports.cells import markdown, percent

_NAMES_INT8 = re.compile(r"\b(int8|[ui]8)\b")  # in the kernels that a runtime reports, eager's simulation too


def real_against_simulated(records: Sequence[RunRecord]) -> list[str]:
    """Whether int8 rows predict in each runtime what eager, which simulates int8, predicts: a line with the verdict,
    then a line for each row and runtime, the lowest agreement first. Empty where no kernel is said to be int8."""
    known: list[tuple[float, str]] = []
    unknown = []
    for one in records:
        if not any(_NAMES_INT8.search(result.kernels) for result in one.runtimes):
            continue
        for result in one.runtimes:
            if result.status == "ok" and result.runtime != "eager":
                name = f"`{one.label}`, seed {one.seed} in {markdown(result.runtime)}"
                if result.agreement is None:
                    unknown.append(f"{name}: not known" + (f" ({markdown(result.reason)})" if result.reason else ""))
                else:
                    known.append((result.agreement, f"{name}: {percent(result.agreement)} %"))
    if not known and not unknown:
        return []
    alike, count = sum(agreement >= ALIKE for agreement, _ in known), len(known) + len(unknown)
    verdict = "They agree" if alike == count else "They do not all agree"
    rule = f"at least {percent(ALIKE, 1)} % of test predictions are those of the simulation"
    lowest = f"; the lowest is {percent(min(known)[0])} %" if known else ""
    lines = [line for _, line in sorted(known, key=lambda pair: pair[0])]
    return [f"{verdict}: {rule} in {alike} of {count:,} rows and runtimes that ran{lowest}.", *unknown, *lines]
