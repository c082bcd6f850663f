"""Plain sentences about a run's rows, from what its records hold: failures, losses, ties, unsteady timings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bench.records import ALIKE, Accuracy, RunRecord, RuntimeResult
from reports.cells import counted, markdown, percent, rounded
from reports.comparisons import paired
from reports.curves import stage_logs
from reports.hits import Score, score_of
from reports.rows import DENSE, reference, same_runtime, unstable
from reports.statistics import quartiles

MUCH = 0.03  # of accuracy: a row further below dense is explained
RISING = 0.005  # of validation accuracy in the last epoch: training had not settled
LARGE_ERROR = 0.1  # standard deviations of the logits: several times what int8 kernels round differently
LARGE_ERROR_IN_EAGER = 0.001  # it rounds nothing differently from the network as it was read, but in 16 bits


def reasons(records: Sequence[RunRecord]) -> list[str]:
    """A line for each case and each runtime that failed or was refused."""
    lines = []
    for one in records:
        if one.status != "ok":
            lines.append(f"{_name(one)}: {one.status}: {markdown(one.reason)}")
            continue
        for result in one.runtimes:
            if result.status != "ok":
                lines.append(f"{_name(one)} in {markdown(result.runtime)}: {result.status}: {markdown(result.reason)}")
    return lines


def behind_dense(records: Sequence[RunRecord]) -> list[str]:
    """A sentence with facts for each row that is more than MUCH below the dense network in some runtime."""
    lines = []
    for one in records:
        dense = reference(one, records)
        pairs = [(r, a, b) for r, a, b in _scored(one, dense) if share(b) - share(a) > MUCH]
        if dense and pairs:
            losses = [
                f"{percent(share(a))} % in {markdown(r.runtime)}, {100 * (share(b) - share(a)):.1f} points below dense"
                for r, a, b in pairs
            ]
            facts = [*_training_facts(one, dense), *_size_facts(one, dense), *_runtime_facts(pairs)]
            lines.append(f"{_name(one)}: {'; '.join(losses)}. {' '.join(facts)}")
    return lines


def drifting(records: Sequence[RunRecord]) -> list[str]:
    """A sentence for each runtime whose predictions or logits are not those that it is held against."""
    lines = []
    for one in records:
        for result in one.runtimes:
            eager = result.runtime == "eager"
            agreement, error = result.agreement, result.logit_error
            facts = []
            if agreement is not None and agreement < ALIKE:
                facts.append(f"{percent(1 - agreement)} % of its predictions differ from eager's")
            exact = eager and not any(kernel.precision in ("fp16", "bf16") for kernel in result.kernel_counts)
            if error is not None and error > (LARGE_ERROR_IN_EAGER if exact else LARGE_ERROR):
                whose = "the network's as it was read" if eager else "eager's"
                many = rounded(error) if math.isfinite(error) else "infinitely many"
                facts.append(f"its logits are {many} standard deviations from {whose} (root mean square)")
            if facts:
                lines.append(f"{_name(one)} in {markdown(result.runtime)}: {'; '.join(facts)}")
    return lines


def cannot_be_told_apart(records: Sequence[RunRecord]) -> list[str]:
    """A line for each chain and runtime whose difference from dense has an interval that holds zero."""
    found: dict[tuple[str, str, str], list[tuple[Score, Score]]] = {}
    for one in records:
        beside = reference(one, records)
        if beside is None:
            continue
        for result, own, dense in _scored(one, beside):
            pair = score_of(one, own), score_of(beside, dense)
            found.setdefault((one.chain, one.label, result.runtime), []).append(pair)
    runtimes: dict[tuple[str, str], list[str]] = {}
    for (chain, label, runtime), pairs in found.items():
        gap = paired(pairs)
        if chain != DENSE and not gap.better and not gap.worse:
            low, high = (100 * min(1.0, max(-1.0, side)) for side in (gap.low, gap.high))  # two seeds bound nothing
            text = f"difference {low:+.2f} to {high:+.2f} points ({gap.how})"
            runtimes.setdefault((label, text), []).append(markdown(runtime))
    return [f"`{label}` in {', '.join(names)}: {text}" for (label, text), names in runtimes.items()]


def unstable_timings(records: Sequence[RunRecord]) -> list[str]:
    """A line for each latency whose samples spread too widely, its own or the dense one taken beside it."""
    lines = []
    for one in records:
        for result in one.runtimes:
            for whose, taken in (("", result.measurements), ("dense beside ", result.dense_measurements)):
                for latency in taken:
                    if latency.quantity == "latency" and unstable(latency):
                        three = quartiles(latency.samples)
                        values = ", ".join(rounded(1000 * value) for value in (three.low, three.median, three.high))
                        batch = latency.protocol.get("batch", "?")
                        where = f"{whose}{_name(one)} in {markdown(result.runtime)}, batch {batch}"
                        lines.append(f"{where}: quartiles {values} ms, a spread of {100 * three.spread:.0f} %")
    return lines


def share(accuracy: Accuracy) -> float:
    """Correct / seen, as a fraction."""
    return accuracy.correct / accuracy.seen


def _name(one: RunRecord) -> str:
    return f"`{one.label}`, seed {one.seed}"


def _scored(one: RunRecord, dense: RunRecord | None) -> Iterator[tuple[RuntimeResult, Accuracy, Accuracy]]:
    """(result, own accuracy, dense accuracy) in each runtime that scored both."""
    for result in one.runtimes:
        beside = same_runtime(dense, result.runtime)
        own, other = result.accuracy, beside.accuracy if beside else None
        if result.status == "ok" and own and other and own.seen and other.seen:
            yield result, own, other


def _training_facts(one: RunRecord, dense: RunRecord) -> list[str]:
    logs = stage_logs(one)
    if not logs:
        return ["It was not fine-tuned."]
    ended = logs[-1].validation_accuracy
    facts = [f"After {counted(len(logs), 'epoch')} of fine-tuning its validation accuracy was {percent(ended)} %"]
    if dense.validation_accuracy is not None:
        facts[0] += f" (dense: {percent(dense.validation_accuracy)} %)"
    facts[0] += "."
    if len(logs) > 1 and ended - logs[-2].validation_accuracy > RISING:
        gained = 100 * (ended - logs[-2].validation_accuracy)
        facts.append(f"It was still rising, by {gained:.1f} points in the last epoch.")
    return facts


def _size_facts(one: RunRecord, dense: RunRecord) -> list[str]:
    if not one.parameters or not dense.parameters or not one.file_bytes:
        return []
    kept, nonzero = one.parameters / dense.parameters, one.nonzeros / dense.parameters
    smaller = dense.file_bytes / one.file_bytes
    return [
        f"It stores {percent(kept, 1)} % of the dense network's parameters, {percent(nonzero, 1)} % as non-zeros, "
        f"in a file {rounded(smaller)} times smaller (`{one.chain}`)."
    ]


def _runtime_facts(pairs: Sequence[tuple[RuntimeResult, Accuracy, Accuracy]]) -> list[str]:
    return [
        f"In {markdown(r.runtime)} {percent(1 - r.agreement, 1)} % of its predictions differ from eager's."
        for r, _, _ in pairs
        if r.agreement is not None and r.agreement < 0.99
    ]
