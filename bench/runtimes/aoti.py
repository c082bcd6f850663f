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

from bench.logit_error import logit_error
from bench.records import from_data, write_json
from bench.runtimes.base import Runtime, RuntimeFailure, Session, one_line
from bench.runtimes.kernels import Kernels, note_on_zeros

if TYPE_CHECKING:
    from torch.fx import GraphModule

ANY_NUMBER, ONE_IMAGE = "model", "one_image"  # the first is what torch loads where no name is given
_LARGEST_BATCH = 65536
_FIXED_BATCH = 32
_CHECKED = 5  # images that a new package is run on
_MOST_ERROR = 0.1  # standard deviations of the logits, root mean square: several times what int8 kernels round away
# the same of deviations over the images, of which a network that ignores its images is 1 off; noise through one that
# has hardly been trained, whose logits lie close together, is up to 0.3 off by roundings alone, in every runtime
_MOST_ERROR_OVER_IMAGES = 0.5
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
        facts = facts_of(path)
        self._facts = json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else {}

    def run(self, images: np.ndarray) -> np.ndarray:
        if len(images) == 1:
            return self._run(ONE_IMAGE, images)
        size = self._facts.get("batch") or len(images)  # what the model takes: that many images, or any number
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        filled = [np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]) for part in parts]
        return np.concatenate([self._run(ANY_NUMBER, part) for part in filled])[: len(images)]

    def _run(self, name: str, images: np.ndarray) -> np.ndarray:
        import torch

        if name not in self._models:
            self._models[name] = _loaded(self._path, name)
        with torch.no_grad():
            return self._models[name](torch.from_numpy(images)).float().numpy()

    def kernels(self) -> Kernels:
        """What was read from the compiler's code when the package was written."""
        return from_data(Kernels, self._facts["kernels"])


def facts_of(package: Path) -> Path:
    """The file beside a package that says what is in it."""
    return package.with_name(f"{package.name}.json")


def write_package(model: GraphModule, input_shape: tuple[int, ...], path: Path) -> None:
    """Compiles `model` for inputs [n, *input_shape], any n >= 1, into the package `path`; facts beside it.

    Where the compiler's code for any number of images is wrong (torch 2.13: of two int8 linear layers in a row), the
    package takes batches of one size, which the facts state, and sessions fill up and split others.

    Raises:
        RuntimeFailure: the network cannot be compiled, or what was compiled computes something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, path.name)
        try:
            _write(package, model, input_shape, batch=None)
        except WrongCode:
            _write(package, model, input_shape, batch=_FIXED_BATCH)
        shutil.move(facts_of(package), facts_of(path))
        shutil.move(package, path)


class WrongCode(RuntimeFailure):
    """What was compiled does not compute what the network does."""


def _write(package: Path, model: GraphModule, input_shape: tuple[int, ...], batch: int | None) -> None:
    """A package and its facts, checked; batch: what its first model takes, None for any number."""
    from torch._inductor.package import package_aoti

    try:
        files = {
            ANY_NUMBER: _compiled(model, (batch or 2, *input_shape), free_batch=batch is None),
            ONE_IMAGE: _compiled(model, (1, *input_shape), free_batch=False),
        }
        package_aoti(str(package), files)  # type: ignore[arg-type]  # it takes names with files, as its text says
    except Exception as error:  # the compiler raises anything
        raise RuntimeFailure(f"AOTInductor fails: {one_line(error)}") from error
    kernels = dataclasses.asdict(_kernels(package, _note_on_zeros(model)))
    write_json({"kernels": kernels, "batch": batch}, facts_of(package))
    _check(package, model, input_shape)


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
        WrongCode: one of them does not compute what `model` does.
    """
    import torch

    session = AotSession(package)
    images = torch.randn(_CHECKED, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(images).numpy()
    one_by_one = np.concatenate([session.run(image[None].numpy()) for image in images])
    for what, found in (("one image", one_by_one), (f"{_CHECKED} images", session.run(images.numpy()))):
        over_images = logit_error(found, expected)
        error = float(np.sqrt(np.mean((found - expected) ** 2)) / (expected.std() + 1e-12))
        if not (error < _MOST_ERROR and over_images < _MOST_ERROR_OVER_IMAGES):
            raise WrongCode(
                f"AOTInductor's code is wrong for {what}: its logits are {error:.2g} standard deviations off, "
                f"{over_images:.2g} of those over the images"
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
