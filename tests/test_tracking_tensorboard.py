"""What TensorBoard reads of a run is what its records say, once."""

import dataclasses
import math

import pytest

from bench.records import StepLog
from bench.tracking import Run, TrackingError
from bench.tracking_values import row_of
from tests.records_example import example, failed, record
from tests.tracking_example import dated, folder_of, logged

pytest.importorskip("tensorboard", reason="TensorBoard is an extra: pip install -r requirements-extra.txt")

from tensorboard.backend.event_processing import event_accumulator, event_multiplexer

from bench.tracking_tensorboard import TensorBoardTracker


def read(folder):
    """{run: {tag: [(step, value)]}} and the time of each point, as TensorBoard loads a folder."""
    found = event_multiplexer.EventMultiplexer(size_guidance={event_accumulator.SCALARS: 0})
    found.AddRunsFromDirectory(str(folder)).Reload()
    return {
        run: {tag: [(one.step, one.value) for one in found.Scalars(run, tag)] for tag in tags["scalars"]}
        for run, tags in found.Runs().items()
    }


def expected(row):
    found = {}
    for one in row.curves:
        found.setdefault(one.name, []).append((one.step, pytest.approx(one.value, rel=1e-6)))
    for name, value in row.measures.items():
        found[name if "/" in name else f"row/{name}"] = [(0, pytest.approx(value, rel=1e-6))]
    return found


def test_every_row_is_a_run_with_its_curves_and_measures(tmp_path):
    records = [dated(one) for one in example(seeds=(0, 1))]
    steps = (StepLog("prune", 1, 2, 0.5, 0.4, 0.9), StepLog("prune", 2, 2, 0.8, math.nan, 0.7))
    records = [dataclasses.replace(one, steps=steps) if one.chain == "prune" else one for one in records]
    folder = folder_of(tmp_path, records)
    (line,) = logged(TensorBoardTracker(), folder, records)
    assert line == f"TensorBoard: to open it: tensorboard --logdir {folder}/tensorboard"
    found = read(folder / "tensorboard")
    dense = {one.seed: one for one in records if one.chain == "dense"}
    for one in records:
        (run,) = [name for name in found if name.startswith(f"{one.chain}-s{one.seed}-")]
        assert found[run] == expected(row_of(one, dense[one.seed]))
    assert len(found) == len(records)
    assert not list((folder / "tensorboard").rglob("*.part"))


def test_the_same_again_writes_nothing(tmp_path):
    records = [dated(one) for one in example()]
    folder = folder_of(tmp_path, records)
    logged(TensorBoardTracker(), folder, records)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*tfevents*")}
    logged(TensorBoardTracker(), folder, records)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*tfevents*")} == before
    assert len(before) == len(records)


def test_a_row_that_has_changed_replaces_what_was_there(tmp_path):
    one = dated(record("prune"))
    folder = folder_of(tmp_path, [one])
    logged(TensorBoardTracker(), folder, [one])
    changed = dataclasses.replace(one, training=one.training[:1], file_bytes=7)
    logged(TensorBoardTracker(), folder, [changed])
    (found,) = read(folder / "tensorboard").values()
    assert found == expected(row_of(changed, None))


def test_a_row_that_did_not_run_is_there_with_its_reason_and_hyperparameters(tmp_path):
    one = dated(failed("prune:sparsity=0.5", status="refused", reason="no layer is left"))
    folder = folder_of(tmp_path, [one])
    logged(TensorBoardTracker(), folder, [one])
    (place,) = (folder / "tensorboard").iterdir()
    found = event_accumulator.EventAccumulator(str(place)).Reload()
    (text,) = found.Tensors("row")
    assert b"**refused** no layer is left" in text.tensor_proto.string_val[0]
    from tensorboard.plugins.hparams import metadata

    (settings,) = found.PluginTagToContent("hparams").values()
    start = metadata.parse_session_start_info_plugin_data(settings)
    assert start.hparams["stage1.sparsity"].number_value == 0.5
    assert start.hparams["stage1.method"].string_value == "prune"


def test_files_name_neither_the_machine_nor_a_person(tmp_path):
    import getpass
    import socket

    one = dated(record("prune"))
    folder = folder_of(tmp_path, [one])
    logged(TensorBoardTracker(), folder, [one])
    (path,) = folder.rglob("*tfevents*")
    for word in (socket.gethostname(), f"/{getpass.getuser()}/"):
        assert word not in path.name
        assert word.encode() not in path.read_bytes()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    one = dated(record("prune"))
    folder = folder_of(tmp_path, [one])
    (folder / "tensorboard").write_text("in the way")
    with pytest.raises(TrackingError, match="cannot be written"):
        TensorBoardTracker().case(Run.of(folder), row_of(one, None))
