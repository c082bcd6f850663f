"""AOTInductor: torch's compiler ahead of time. The network is compiled once to a package of machine code with its
weights frozen in, which then runs without being traced, and from C++ without Python.

The package holds two models: `model` takes any number of images, and `one_image` takes one, at which code for any
number was measured to take 1.15 (int8) to 1.7 (float32) times as long. Compiling both takes up to a minute a network,
so this runtime runs only where it is asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.records import from_data, write_json
from bench.runtimes.base import Runtime, RuntimeFailure, Session, one_line
from bench.runtimes.kernels import Kernels, note_on_zeros

if TYPE_CHECKING:
    from torch.fx import GraphModule

ANY_NUMBER, ONE_IMAGE = "model", "one_image"  # the first is what torch loads where no name is given
_LARGEST_BATCH = 65536
_MOST_ERROR = 0.1  # standard deviations of the logits, root mean square: several times what int8 kernels round away
_OPTIONS = {
    "freezing": True,  # weights become constants, so int8 layers turn into oneDNN's int8 kernels
    "cpp.dynamic_threads": True,  # the number of threads is the process's that runs it, not the compiling one's
    "aot_inductor.package": True,
}


class AotInductor(Runtime):
    name = "aoti"

    def unavailable(self, device: str) -> str | None:
        if device != "cpu":
            return f"its packages are made for the processor, not for {device}"
        if not any(shutil.which(compiler) for compiler in ("g++", "clang++")):
            return "it needs a C++ compiler (g++ or clang++) on the PATH"
        return None if importlib.util.find_spec("torch") else "the package torch is not installed"

    def prepare(self, model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        path = folder / "model.pt2"
        write_package(model, input_shape, path)
        return path

    def load(self, model: GraphModule | None, deployed: Path | None, *, threads: int, device: str) -> Session:
        import torch

        assert deployed is not None
        torch.set_num_threads(threads)
        return AotSession(deployed)


class AotSession(Session):
    """A package, of which the model that a batch needs is loaded when the first such batch comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._models: dict[str, Any] = {}
        if not zipfile.is_zipfile(path):
            raise RuntimeFailure(f"{path.name} is no package of torch: it is damaged")

    def run(self, images: np.ndarray) -> np.ndarray:
        import torch

        name = ONE_IMAGE if len(images) == 1 else ANY_NUMBER
        if name not in self._models:
            self._models[name] = _loaded(self._path, name)
        with torch.no_grad():
            return self._models[name](torch.from_numpy(images)).float().numpy()

    def kernels(self) -> Kernels:
        """What was read from the compiler's code when the package was written."""
        return from_data(Kernels, json.loads(facts_of(self._path).read_text(encoding="utf-8"))["kernels"])


def facts_of(package: Path) -> Path:
    """The file beside a package that says what is in it."""
    return package.with_suffix(".json")


def write_package(model: GraphModule, input_shape: tuple[int, ...], path: Path) -> None:
    """Compiles `model` for inputs [n, *input_shape], any n >= 1, into the package `path`; facts beside it.

    Raises:
        RuntimeFailure: the network cannot be compiled.
    """
    from torch._inductor.package import package_aoti

    with tempfile.TemporaryDirectory() as folder:
        try:
            files = {
                ANY_NUMBER: _compiled(model, (2, *input_shape), free_batch=True),
                ONE_IMAGE: _compiled(model, (1, *input_shape), free_batch=False),
            }
            package = Path(folder, path.name)
            package_aoti(str(package), files)  # type: ignore[arg-type]  # it takes names with files, as its text says
        except Exception as error:  # the compiler raises anything
            raise RuntimeFailure(f"AOTInductor fails: {one_line(error)}") from error
        _check(package, model, input_shape)
        write_json({"kernels": dataclasses.asdict(_kernels(package, _note_on_zeros(model)))}, facts_of(path))
        shutil.move(package, path)


def _compiled(model: GraphModule, shape: tuple[int, ...], *, free_batch: bool) -> list[Any]:
    """The files of one model, compiled for inputs of `shape` [n, c, h, w]."""
    import torch
    import torch._inductor

    from bench.runtimes.float32 import hold_to_float32
    from bench.runtimes.lowering import spelled_out
    from bench.runtimes.precision import in_stored_precision

    hold_to_float32()
    free = ({0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)},) if free_batch else None
    with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")  # about the compiler's own insides
        lowered = in_stored_precision(spelled_out(model).cpu(), model, "cpu").eval()
        program = torch.export.export(lowered, (torch.zeros(shape),), dynamic_shapes=free)
        return torch._inductor.aot_compile(program.module(), (torch.zeros(shape),), options=_OPTIONS)  # type: ignore[return-value, arg-type]


def _check(package: Path, model: GraphModule, input_shape: tuple[int, ...]) -> None:
    """Runs both models of a package: with a free batch the compiler was seen to write code whose logits are wrong
    (torch 2.13, two integer products with a rounding between them), which predictions may not show.

    Raises:
        RuntimeFailure: one of them does not compute what `model` does.
    """
    import torch

    session = AotSession(package)
    for batch in (1, 5):
        images = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = model(images).numpy()
        error = float(np.sqrt(np.mean((session.run(images.numpy()) - expected) ** 2)) / (expected.std() + 1e-12))
        if not error < _MOST_ERROR:
            raise RuntimeFailure(
                f"AOTInductor's code is wrong at batch {batch}: its logits are {error:.2g} standard deviations off"
            )


def _loaded(path: Path, name: str) -> Any:
    from torch._inductor.package import load_package

    from bench.runtimes.float32 import hold_to_float32

    hold_to_float32()
    try:
        return load_package(str(path), name)
    except Exception as error:  # torch raises anything
        raise RuntimeFailure(f"torch refuses the package: {one_line(error)}") from error


def _kernels(package: Path, note: str) -> Kernels:
    """Kernels called by the code of `ANY_NUMBER`."""
    from bench.runtimes.torch_kernels import products_in_cpp

    with zipfile.ZipFile(package) as archive:
        names = [name for name in archive.namelist() if f"/{ANY_NUMBER}/" in name and name.endswith(".wrapper.cpp")]
        source = "".join(archive.read(name).decode("utf-8", errors="replace") for name in names)
    calls = products_in_cpp(source)
    return Kernels.of(calls, "" if calls else "generated kernels only", note)


def _note_on_zeros(model: GraphModule) -> str:
    from methods.layers import weights

    tensors = [getattr(layer, name) for _, layer, name in weights(model)]
    return note_on_zeros(sum(int((tensor == 0).sum()) for tensor in tensors), sum(tensor.numel() for tensor in tensors))
