"""Post-training quantisation here against ONNX Runtime's own: `python -m bench.peer_quantization FILES --out FILE.md`.

FILES: dense artifacts and quantised ones made from them, of one seed or of several; which belongs to which is read from
the files. For each dense one its export is quantised by `onnxruntime.quantization.quantize_static` from the calibration
images that our method saw, and every file is scored over the whole test split: fp32, peers and ours in ONNX Runtime,
ours in eager too.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baselines.data import ImageData
from baselines.errors import UsageError, nearest
from bench.artifact import Artifact, ArtifactError, load, read_metadata
from bench.measure import accuracy
from bench.measure.score import open_data, test_split
from bench.onnxruntime_peer import CALIBRATIONS, quantize
from bench.peer_page import RULE, Kind, Scored, group_section, summary_section
from bench.runtimes import RUNTIMES, Session
from bench.runtimes.onnxruntime import write_onnx
from bench.runtimes.onnxruntime_session import OnnxSession
from bench.study_page import made_at, made_by
from bench.task import calibration_images

_BATCH = 32  # images scored at once
PROTOCOL = """Every file is scored over the whole test split. The peer quantises our export of the dense file with
`onnxruntime.quantization`: quant_pre_process (symbolic shapes left out, which fail on these exports; ONNX's own shape
inference runs), then quantize_static (QDQ, int8 weights by channel, uint8 activations, the rest by default), once for
each way of calibrating, on the training images that our method was calibrated on. All sessions of ONNX Runtime are
opened alike, with kernels whose sums do not saturate. Loss: accuracy of the dense file, float32 in ONNX Runtime, less
the row's."""


@dataclass(frozen=True)
class Group:
    """A dense file and the quantised ones made from it."""

    dense: Path
    ours: tuple[Path, ...]


def groups(files: list[Path], calibration: int) -> list[Group]:
    """The files by network, data set and seed.

    Raises:
        UsageError: a group has no dense file, two of them, none beside it, or two of one label; a file names no data
            set, or saw another number of calibration images than `calibration`.
    """
    found: dict[tuple[str, str, int], list[Path]] = {}
    for path in files:
        about = read_metadata(path)
        if "data" not in about:
            raise UsageError(f"{path} is not an artifact of a run, it names no data set: give a file of artifacts/")
        if any(
            int(count) != calibration for count in re.findall(r"\bcalibration=(\d+)", about["chain"].split("+")[-1])
        ):
            raise UsageError(f"{path} is {about['chain']}: pass --calibration with the number of images that it saw")
        found.setdefault((about["net"], about["dataset"], about["seed"]), []).append(path)
    return [_group(f"{net} on {data}, seed {seed}", paths) for (net, data, seed), paths in found.items()]


def _group(name: str, paths: list[Path]) -> Group:
    labels = [read_metadata(path)["label"] for path in paths]
    dense = [path for path in paths if read_metadata(path)["chain"] == "dense"]
    if len(dense) != 1 or len(paths) < 2 or len(set(labels)) < len(labels):
        raise UsageError(f"{name}: give one dense file and quantised ones made from it, no two of one label, got "
                         f"{', '.join(labels)}")  # fmt: skip
    return Group(dense[0], tuple(path for path in paths if path != dense[0]))


def measure(group: Group, calibrations: list[str], calibration: int, threads: int) -> list[Scored]:
    """Every file of the group scored over the test split, the dense one in ONNX Runtime first."""
    dense = load(group.dense)
    seed, shape = dense.metadata["seed"], tuple(dense.metadata["input_shape"])
    data = open_data(dense.metadata["data"], dense.metadata)
    images = [batch.numpy() for batch in calibration_images(data, calibration, seed=seed, device="cpu")]
    split = _Split.of(data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exported = write_onnx(dense.model, shape, folder)
        found = [split.score(OnnxSession(exported, threads=threads, device="cpu"), "dense", "dense",
                             "onnxruntime", exported)]  # fmt: skip
        for how in calibrations:
            path = quantize(exported, folder / f"{how}.onnx", images, how)
            session = OnnxSession(path, threads=threads, device="cpu")
            found.append(split.score(session, f"quantize_static, {how}", "peer", "onnxruntime", path))
        for file in group.ours:
            found += _ours(file, load(file), split, folder, threads)
    return found


def _ours(file: Path, artifact: Artifact, split: _Split, folder: Path, threads: int) -> Iterator[Scored]:
    for runtime in ("onnxruntime", "eager"):
        place = folder / f"{file.stem}-{runtime}"
        place.mkdir()
        deployed = RUNTIMES[runtime].prepare(artifact.model, tuple(artifact.metadata["input_shape"]), place)
        session = RUNTIMES[runtime].load(artifact.model, deployed, threads=threads, device="cpu")
        yield split.score(session, artifact.metadata["label"], "ours", runtime, deployed)


@dataclass(frozen=True)
class _Split:
    """The test split, scored again and again."""

    data: ImageData
    labels: NDArray[np.int64]  # [n]

    @staticmethod
    def of(data: ImageData) -> _Split:
        return _Split(data, np.concatenate([labels for _, labels in test_split(data, _BATCH)]))

    def score(self, session: Session, name: str, kind: Kind, runtime: str, file: Path | None) -> Scored:
        """`file`: the .onnx file whose bytes are told."""
        counts = accuracy.score(session.run, test_split(self.data, _BATCH), _BATCH)
        predictions = accuracy.decode(counts.predictions)
        size = file.stat().st_size if file else 0
        return Scored(name, kind, runtime, predictions, predictions == self.labels, size, session.kernels().words())


def _about(file: Path) -> str:
    about = read_metadata(file)
    return f"{about['label']}: `{about['chain']}`, {file.name}, {file.stat().st_size:,} bytes"


def page(found: list[Group], arguments: argparse.Namespace) -> list[str]:
    """The whole page; says on the way what it is doing."""
    lines = ["# Post-training quantisation here and by ONNX Runtime", "", made_by("bench.peer_quantization"), "",
             made_at(("torch", "onnx", "onnxruntime")), "", PROTOCOL, "", RULE]  # fmt: skip
    all_scored = []
    for group in found:
        about = read_metadata(group.dense)
        net = f"{about['net']} on {about['dataset']}"
        print(f"{net}, seed {about['seed']}", file=sys.stderr, flush=True)
        scored = measure(group, arguments.peers.split(","), arguments.calibration, arguments.threads)
        lines += group_section(
            f"{net}, seed {about['seed']}", [_about(file) for file in (group.dense, *group.ours)], scored
        )
        all_scored.append((net, scored))
    return lines + summary_section(all_scored)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.peer_quantization", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="dense artifacts and quantised ones made from them")
    parser.add_argument("--calibration", type=int, default=512, help="images that show the ranges of activations")
    parser.add_argument("--peers", default=",".join(CALIBRATIONS), help="calibrations of the peer, comma-separated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/studies/peer_quantization.md"), help="the file to write")
    arguments = parser.parse_args()
    for name in arguments.peers.split(","):
        if name not in CALIBRATIONS:
            parser.error(f"unknown calibration {name!r} of the peer: {nearest(name, CALIBRATIONS)}")
    try:
        lines = page(groups(arguments.files, arguments.calibration), arguments)
    except (UsageError, ArtifactError) as error:
        print(f"bench.peer_quantization: {error}", file=sys.stderr)
        return 2
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
