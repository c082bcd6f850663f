"""Networks from elsewhere: timm, and a person's own file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from baselines.errors import UsageError, first_line, nearest
from baselines.nets.spec import NetSpec
from baselines.torchvision_import import import_torchvision


def timm_net(name: str, classes: int, input_shape: tuple[int, int, int], pretrained: bool) -> nn.Module:
    """A network of timm.

    Raises:
        UsageError: timm is not installed, has no such network, or cannot fetch its weights.
    """
    import_torchvision()
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise UsageError(f"timm:{name} needs the package timm ({error}): python -m pip install timm==1.0.31") from error
    if not timm.is_model(name):
        raise UsageError(f"timm has no network {name!r}: {nearest(name, timm.list_models())[:300]}")
    channels, height, width = input_shape
    fixed = getattr(timm.models.get_pretrained_cfg(name), "fixed_input_size", False)
    arguments: dict[str, Any] = {"img_size": (height, width)} if fixed else {}
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=classes, in_chans=channels, **arguments)
    except (OSError, RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise UsageError(f"timm cannot make {name} for {channels}x{height}x{width} ({first_line(error)}): "
                         f"try other images, or leave --pretrained out") from error  # fmt: skip


def own_net(spec: NetSpec, classes: int, input_shape: tuple[int, int, int]) -> nn.Module:
    """What a function of a person's own file returns.

    The function is called with those of `classes`, `num_classes`, `input_shape` [c, h, w] and `in_channels` that its
    signature names, and with the options that were typed, as text unless the parameter's default is a number.

    Raises:
        UsageError: no such file or function, an unknown option, an error in the file, or a result that is no network.
    """
    path = Path(spec.name)
    if not path.is_file():
        raise UsageError(f"there is no file {path} (looked in {path.absolute().parent}): give the path of your network")
    given = {"classes": classes, "num_classes": classes, "input_shape": input_shape, "in_channels": input_shape[0]}
    with _folder_importable(path.absolute().parent):
        factory = _function(_import_file(path), spec)
        parameters = inspect.signature(factory).parameters
        arguments = {name: value for name, value in given.items() if name in parameters}
        arguments.update(_own_options(spec, parameters))
        try:
            network = factory(**arguments)
        except Exception as error:  # a person's code may raise anything; it is told as theirs
            raise UsageError(
                f"{spec.name}:{spec.function} raised {type(error).__name__}: {first_line(error)}"
            ) from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"{spec.name}:{spec.function} returned a {type(network).__name__}: return an nn.Module")
    return network


@contextmanager
def _folder_importable(folder: Path) -> Iterator[None]:
    """Modules beside a person's file can be imported by it; what is installed, and ours, comes first."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import_file(path: Path) -> ModuleType:
    private = "_own_network_" + hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12]
    description = importlib.util.spec_from_file_location(private, path)
    assert description is not None
    assert description.loader is not None
    module = importlib.util.module_from_spec(description)
    sys.modules[private] = module  # dataclasses look their module up there
    try:
        description.loader.exec_module(module)
    except Exception as error:  # a person's code may raise anything; it is told as theirs
        del sys.modules[private]
        raise UsageError(f"{path} cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    return module


def _function(module: ModuleType, spec: NetSpec) -> Callable[..., Any]:
    functions = {name: value for name, value in vars(module).items() if callable(value) and not name.startswith("_")}
    if spec.function not in functions:
        raise UsageError(f"{spec.name} has no function {spec.function!r}: {nearest(spec.function, functions)}")
    return functions[spec.function]


def _own_options(spec: NetSpec, parameters: Any) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in spec.options.items():
        if name not in parameters:
            raise UsageError(f"{spec.name}:{spec.function} has no parameter {name!r}: {nearest(name, parameters)}")
        default = parameters[name].default
        number = type(default) if isinstance(default, int | float) and not isinstance(default, bool) else str
        try:
            options[name] = number(text)
        except ValueError:
            raise UsageError(f"{spec.name}:{spec.function}: {name}={text} is not a {number.__name__}") from None
    return options
