"""Records: what is written is what is read, and what cannot be read says so."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.records import (
    SCHEMA,
    Accuracy,
    EpochLog,
    KernelCount,
    Measurement,
    RecordError,
    RunRecord,
    RuntimeResult,
    TensorEntry,
    from_data,
    read_record,
    write_json,
    write_record,
)

FIXTURE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
words = st.text(max_size=12)
counts = st.integers(0, 2**40)
reals = st.floats(allow_nan=False)  # NaN is written too, but never equals itself
plain = st.dictionaries(words, st.none() | st.booleans() | counts | reals | words | st.lists(counts, max_size=2))
statuses = st.sampled_from(["ok", "failed", "refused"])
accuracies = st.builds(Accuracy, counts, counts, counts, words, st.none() | reals, st.none() | reals)
measurements = st.builds(Measurement, words, words, st.lists(reals, max_size=3).map(tuple), plain)
entries = st.builds(
    TensorEntry,
    words,
    words,
    st.lists(counts, max_size=4).map(tuple),
    words,
    counts,
    counts,
    reals,
    counts,
    *[counts] * 5,
)
results = st.builds(
    RuntimeResult, words, statuses, words, words, st.none() | accuracies,
    st.lists(measurements, max_size=2).map(tuple), st.lists(measurements, max_size=2).map(tuple), st.none() | reals,
    kernel_counts=st.lists(st.builds(KernelCount, words, words, counts), max_size=2).map(tuple),
    kernel_notes=st.lists(words, max_size=2).map(tuple),
)  # fmt: skip
epochs = st.builds(EpochLog, words, counts, counts, reals, reals, reals, reals, reals, counts)
records = st.builds(
    RunRecord,
    case_id=words, net=words, dataset=words, chain=words, label=words, seed=counts, recipe=plain, status=statuses,
    reason=words, artifact=words, sha256=words, file_bytes=counts, parameters=counts, nonzeros=counts,
    information_bits=reals, macs=counts, compress_s=reals, validation_accuracy=st.none() | reals,
    ledger=st.lists(entries, max_size=2).map(tuple), training=st.lists(epochs, max_size=2).map(tuple),
    runtimes=st.lists(results, max_size=2).map(tuple), environment=plain, notes=st.lists(words, max_size=2).map(tuple),
    nonzero_macs=st.none() | counts, weight_bytes=st.none() | counts, test_labels=words,
    class_names=st.lists(words, max_size=2).map(tuple),
)  # fmt: skip

EXAMPLE = """
{"case_id": "3f9a", "net": "resnet18", "dataset": "digits", "chain": "prune(sparsity=0.9)", "label": "prune",
 "seed": 0, "recipe": {"epochs": 6, "lr": 0.1}, "status": "ok", "reason": "", "artifact": "artifacts/prune.nnc",
 "sha256": "ab12", "file_bytes": 5300000, "parameters": 11170000, "nonzeros": 1117000, "information_bits": 3.5e7,
 "macs": 139000000, "compress_s": 31.5, "validation_accuracy": 0.98,
 "ledger": [{"layer": "conv1", "tensor": "weight", "shape": [64, 3, 3, 3], "codec": "sparse", "parameters": 1728,
   "nonzeros": 172, "information_bits": 6000.0, "bytes": 904}],
 "training": [{"stage": "dense", "epoch": 1, "epochs": 6, "lr": 0.1, "train_loss": 1.2, "train_accuracy": 0.6,
   "validation_accuracy": 0.9, "seconds": 5.5, "samples": 1149}],
 "runtimes": [
  {"runtime": "eager", "status": "ok", "reason": "", "kernels": "fp32 dense kernels",
   "accuracy": {"correct": 2, "top5_correct": 3, "seen": 3, "predictions": "AQAFAP//"},
   "measurements": [{"quantity": "latency", "unit": "s", "samples": [0.01, 0.011], "protocol": {"batch": 1}}],
   "dense_measurements": [{"quantity": "latency", "unit": "s", "samples": [0.01, 0.01], "protocol": {"batch": 1}}],
   "agreement": 1.0},
  {"runtime": "onnxruntime", "status": "failed", "reason": "no operator", "kernels": "", "accuracy": null,
   "measurements": [], "dense_measurements": [], "agreement": null}],
 "environment": {"torch": "2.13.0"}, "notes": ["second attempt"], "schema": 1}
"""

# fields since, and what they are in a record from before
ADDED: dict[str, Any] = {
    "steps": (),
    "processes": 1,
    "role": "asked",
    "control_of": (),
    "kernel_counts": (),
    "kernel_notes": (),
    "nonzero_macs": None,
    "weight_bytes": None,
    "logit_error": None,
    "values_bytes": 0,
    "indices_bytes": 0,
    "codebooks_bytes": 0,
    "scales_bytes": 0,
    "header_bytes": 0,
    "calibration_error": None,
    "log_loss": None,
    "test_labels": "",
    "class_names": (),
}


@FIXTURE
@given(record=records)
def test_what_is_written_is_what_is_read(record: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(record, path)
    assert read_record(path) == record


def test_a_record_of_this_schema_stays_readable(tmp_path: Path) -> None:
    """If EXAMPLE has to change, so does SCHEMA: records of people's runs are out there. A field that came later has a
    default, which they are read with."""
    path = tmp_path / "record.json"
    path.write_text(EXAMPLE)
    record = read_record(path)
    assert record.ledger == (TensorEntry("conv1", "weight", (64, 3, 3, 3), "sparse", 1728, 172, 6000.0, 904),)
    assert record.training[0].seconds == 5.5
    eager, failed = record.runtimes
    assert eager.accuracy == Accuracy(2, 3, 3, "AQAFAP//")
    assert eager.measurements == (Measurement("latency", "s", (0.01, 0.011), {"batch": 1}),)
    assert (failed.status, failed.reason, failed.accuracy, failed.agreement) == ("failed", "no operator", None, None)
    assert without(ADDED, dataclasses.asdict(record)) == json.loads(EXAMPLE)  # no other field is new, none is lost


def without(added: dict[str, Any], data: Any) -> Any:
    """What JSON makes of `data`, fields that this schema gained left out where they have what an old record lacks."""
    if isinstance(data, dict):
        kept = {key: value for key, value in data.items() if key not in added or value != added[key]}
        return {key: without(added, value) for key, value in kept.items()}
    return [without(added, one) for one in data] if isinstance(data, list | tuple) else data


def changed(path: tuple[str | int, ...], value: Any) -> str:
    data = json.loads(EXAMPLE)
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "17",
        '"text"',
        "{}",
        EXAMPLE[:-200],
        EXAMPLE.replace('"seed": 0, ', ""),
        changed(("seed",), "zero"),
        changed(("seed",), None),
        changed(("seed",), True),
        changed(("status",), "fine"),
        changed(("surprise",), 1),
        changed(("ledger",), {"not": "a list"}),
        changed(("ledger", 0, "shape"), "64"),
        changed(("ledger", 0, "bytes"), [1]),
        changed(("ledger", 0), None),
        changed(("runtimes", 0, "accuracy", "correct"), 1.5),
        changed(("runtimes", 0, "measurements", 0, "samples"), ["fast"]),
        changed(("runtimes", 0, "status"), None),
        changed(("environment",), []),
    ],
)
def test_damage_is_named_with_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"record\.json is damaged.*run again"):
        read_record(path)


def test_bytes_that_are_no_text_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(RecordError, match="damaged"):
        read_record(path)


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, "1", None])
def test_another_schema_is_refused_before_anything_is_read(schema: Any, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(changed(("schema",), schema).replace('"seed"', '"grain"'))
    with pytest.raises(RecordError, match=r"has schema .*, this version reads 1: use another --out"):
        read_record(path)


def test_whole_numbers_are_read_where_a_real_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(changed(("compress_s",), 31))
    assert isinstance(read_record(path).compress_s, float)
    with pytest.raises(TypeError):
        from_data(Accuracy, {"correct": 1.0, "top5_correct": 1, "seen": 1})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    write_json({"old": True}, path)
    with pytest.raises(TypeError):
        write_json({"new": object()}, path)
    assert json.loads(path.read_text()) == {"old": True}
    assert list(path.parent.glob("*.json")) == [path]


def test_a_reader_never_sees_half_a_record(tmp_path: Path) -> None:
    """A writer that is killed at a random moment, again and again: the file is absent or whole."""
    path = tmp_path / "record.json"
    writer = textwrap.dedent(
        f"""
        from pathlib import Path
        from bench.records import write_json
        number = 0
        print("ready", flush=True)
        while True:
            number += 1
            write_json({{"number": number, "again": number, "filling": "x" * 200_000}}, Path({str(path)!r}))
        """
    )
    for attempt in range(4):
        with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            begin = time.monotonic()
            while time.monotonic() - begin < 0.1 + 0.037 * attempt:
                if path.exists():
                    data = json.loads(path.read_text())
                    assert data["number"] == data["again"]
            os.kill(process.pid, signal.SIGKILL)
        data = json.loads(path.read_text())
        assert data["number"] == data["again"] > 0
        assert len(data["filling"]) == 200_000
