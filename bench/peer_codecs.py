"""Our codes of quantised tensors beside others' of the same integers: `python -m bench.peer_codecs ARTIFACT...`.

Peers: DeepCABAC, the coder of the neural network coding standard ISO/IEC 15938-17, as in nncodec (run by the
interpreter given as --nncodec, for it needs another numpy), Zstandard at level 19 and xz at level 9e. Each is given
what suits it best: DeepCABAC each tensor in every lossless setting it has, the others all tensors in one stream.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shlex
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray
from torch import nn

from baselines.errors import UsageError
from bench.artifact import Artifact, load
from bench.artifact.codecs.bits import packed_bytes
from bench.artifact.information import entropy_bits
from bench.study_page import made_at

_LEAST_AXES = 2  # weights; a vector of codes is a few bytes in any code
_WORKER = Path(__file__).with_name("deepcabac_worker.py")
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Sizes:
    """Bytes that the quantised tensors of one file take."""

    name: str
    weights: int
    packed: int  # in as many bits as the range of each tensor needs
    entropy: int  # of each tensor's distribution, which is not free to say
    zstd: int
    xz: int
    deepcabac: int | None  # None: no interpreter was given
    ours: int  # as they are in the file, parameters of codecs included

    @property
    def best_peer(self) -> int:
        return min(size for size in (self.zstd, self.xz, self.deepcabac) if size is not None)


def compare(path: Path, nncodec: str | None) -> Sizes | None:
    """The sizes of one file's quantised tensors; None where it has none.

    Raises:
        UsageError: the file cannot be read, or the interpreter cannot run nncodec.
    """
    artifact = load(path)
    arrays = quantised(artifact)
    if not arrays:
        return None
    stream = b"".join(array.tobytes() for array in arrays.values())
    about = artifact.metadata
    return Sizes(
        name=f"{about['net']} on {about['dataset']}: {about['label']}",
        weights=sum(array.size for array in arrays.values()),
        packed=sum(_packed(array) for array in arrays.values()),
        entropy=round(sum(entropy_bits(array.reshape(-1)) for array in arrays.values()) / 8),
        zstd=len(zstandard.ZstdCompressor(level=19).compress(stream)),
        xz=len(lzma.compress(stream, preset=9 | lzma.PRESET_EXTREME)),
        deepcabac=sum(_deepcabac(arrays, nncodec).values()) if nncodec else None,
        ours=_bytes_in_file(artifact, len(arrays)),
    )


def quantised(artifact: Artifact) -> Arrays:
    """The parameters that are integers and have two axes or more, by name."""
    named = artifact.model.state_dict(keep_vars=True)
    return {
        name: np.ascontiguousarray(tensor.detach().numpy())
        for name, tensor in named.items()
        if isinstance(tensor, nn.Parameter) and not tensor.is_floating_point() and tensor.dim() >= _LEAST_AXES
    }


def _bytes_in_file(artifact: Artifact, expected: int) -> int:
    kept = [line for line in artifact.ledger if line.parameters and len(line.shape) >= _LEAST_AXES]
    names = {name.replace(".parametrizations", "").removesuffix(".original") for name in quantised(artifact)}
    lines = [line for line in kept if f"{line.layer}.{line.tensor}" in names]
    if len(lines) != expected:
        raise UsageError(f"the ledger has {len(lines)} of {expected} quantised tensors: tied ones are not compared")
    return sum(line.bytes for line in lines)


def _packed(array: NDArray[Any]) -> int:
    return packed_bytes(array.size, (int(array.max()) - int(array.min())).bit_length())


def _deepcabac(arrays: Arrays, python: str) -> dict[str, int]:
    """Bytes of each array in DeepCABAC, decoded and compared there."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "arrays.npz"
        with zipfile.ZipFile(place, "w") as archive:
            for index, array in enumerate(arrays.values()):
                with archive.open(f"{index}.npy", "w") as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        done = subprocess.run([python, str(_WORKER), str(place)], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"--nncodec {python} failed ({last}): pass a Python that has nncodec installed")
    return json.loads(done.stdout)


def page(rows: list[Sizes], command: str) -> str:
    """The study as Markdown."""
    lines = [
        "# The same integers in other codes",
        "",
        f"Made by {command}. {made_at(('torch', 'constriction', 'zstandard'))}",
        "",
        "Bytes of the quantised weights of each file (two axes or more): as bits of their range, their zeroth-order "
        "entropy (which knows the distribution and nothing of order), one stream of all of them through Zstandard at "
        "level 19 and xz at level 9e, DeepCABAC's payloads (nncodec; for each tensor the smallest of its scan orders, "
        "numbers of unary bins and row skipping that decodes to the same integers; of tensors above half a million "
        "weights in the default scan order and bins alone; its unit headers are not counted), and ours as in the file, "
        "codecs' parameters counted. Ratio: ours over the smallest of the peers.",
        "",
        "| file | weights | packed bits | entropy | zstd -19 | xz -9e | DeepCABAC | ours | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in rows:
        sizes = (one.weights, one.packed, one.entropy, one.zstd, one.xz, one.deepcabac, one.ours)
        cells = ["not run" if size is None else f"{size:,}" for size in sizes]
        lines.append("| " + " | ".join([one.name, *cells, f"{one.ours / one.best_peer:.3f}"]) + " |")
    smaller = sum(one.ours < one.best_peer for one in rows)
    lines += ["", f"Ours is the smallest in {smaller} of {len(rows)} files.", ""]
    return "\n".join(lines)


def main() -> int:
    """The command: 0 if ours is the smallest in every file, 1 if not, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m bench.peer_codecs", description=__doc__)
    parser.add_argument("artifacts", type=Path, nargs="+", help="files of quantised networks")
    parser.add_argument("--nncodec", metavar="PYTHON", help="a Python interpreter that has nncodec")
    parser.add_argument("--out", type=Path, default=Path("docs/studies/peer_codecs.md"))
    typed = parser.parse_args()
    try:
        rows = [one for path in typed.artifacts if (one := compare(path, typed.nncodec)) is not None]
    except UsageError as error:
        print(f"bench.peer_codecs: {error}", file=sys.stderr)
        return 2
    if not rows:
        print("bench.peer_codecs: none of the files has quantised weights", file=sys.stderr)
        return 2
    names = shlex.join(str(path) for path in typed.artifacts)
    text = page(rows, f"`python -m bench.peer_codecs {names}{' --nncodec PYTHON' if typed.nncodec else ''}`")
    typed.out.parent.mkdir(parents=True, exist_ok=True)
    typed.out.write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(one.ours < one.best_peer for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
