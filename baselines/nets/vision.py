"""torchvision's classifiers, fitted to the input: its channels, and a gentler stem where images are small."""

from __future__ import annotations

from typing import Any

from torch import nn

from baselines.errors import UsageError, first_line
from baselines.torchvision_import import import_torchvision

SMALL = 64  # pixels a side up to which the small-image stem is used
_FEWER_DOWNSAMPLINGS = ("maxpool", "maxpool1", "pool0")  # of resnets and shufflenets, googlenet, densenets


def names() -> list[str]:
    """The classifiers that torchvision has."""
    models = import_torchvision().models
    return models.list_models(module=models)


def torchvision_net(name: str, classes: int, input_shape: tuple[int, int, int], pretrained: bool) -> nn.Module:
    """A torchvision classifier with fresh weights, or pretrained ones except in the layers that the data changes.

    Raises:
        UsageError: the input's size does not suit the network, or pretrained weights cannot be had.
    """
    models = import_torchvision().models
    channels, height, width = input_shape
    arguments = _arguments(name, height, width)
    try:
        model = models.get_model(name, weights=None, num_classes=classes, **arguments)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{name} cannot take images of {height}x{width}: {first_line(error)}") from error
    if max(height, width) <= SMALL:
        _small_stem(model)
        if isinstance(model, models.VGG):
            _small_vgg(model, max(1, min(height, width) // 32))
    first_path, first = next((path, layer) for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    if first.in_channels != channels:
        _replace(model, first_path, _like(first, in_channels=channels))
    if pretrained:
        _load_pretrained(model, name)
    return model


def _arguments(name: str, height: int, width: int) -> dict[str, Any]:
    if name == "googlenet" or name == "inception_v3":
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        patch = int(name.split("_")[2])
        if height != width or height % patch:
            raise UsageError(f"{name} needs square images, a multiple of {patch} pixels, got {height}x{width}: "
                             f"add :size={max(patch, height // patch * patch)} to --dataset")  # fmt: skip
        return {"image_size": height}
    if name == "maxvit_t":
        return {"input_size": (height, width)}
    return {}


def _small_stem(model: nn.Module) -> None:
    """First convolution with stride 1, a 7x7 one made 3x3; no pooling after it. Patch embeddings are left alone."""
    path, first = next((path, layer) for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    patches = first.kernel_size == first.stride and first.stride != (1, 1)
    if first.stride == (1, 1) or patches:
        return
    kernel = 3 if max(first.kernel_size) > 3 else first.kernel_size[0]
    _replace(model, path, _like(first, kernel_size=kernel, stride=1, padding=kernel // 2))
    for pool_path, pool in list(model.named_modules()):
        if isinstance(pool, nn.MaxPool2d) and pool_path.rpartition(".")[2] in _FEWER_DOWNSAMPLINGS:
            _replace(model, pool_path, nn.Identity())


def _small_vgg(model: Any, side: int) -> None:
    """Averages to the `side` that five poolings leave, instead of copying values up to 7x7."""
    model.avgpool = nn.AdaptiveAvgPool2d(side)
    first = model.classifier[0]
    model.classifier[0] = nn.Linear(512 * side * side, first.out_features)
    nn.init.normal_(model.classifier[0].weight, 0, 0.01)
    nn.init.zeros_(model.classifier[0].bias)


def _like(conv: nn.Conv2d, **changes: Any) -> nn.Conv2d:
    """A fresh convolution like `conv` but for `changes`."""
    arguments = {name: getattr(conv, name) for name in ("in_channels", "out_channels", "kernel_size", "stride",
                                                        "padding", "dilation", "groups", "padding_mode")}  # fmt: skip
    made = nn.Conv2d(**{**arguments, **changes}, bias=conv.bias is not None)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


def _replace(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, layer)


def _load_pretrained(model: nn.Module, name: str) -> None:
    """torchvision's weights in every layer whose shapes still fit; stem and head may differ, nothing else may."""
    weights = import_torchvision().models.get_model_weights(name).DEFAULT
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"the pretrained weights of {name} cannot be fetched from {weights.url} ({error}): "
                         f"pass --weights FILE, or leave --pretrained out") from error  # fmt: skip
    own = model.state_dict()
    fits = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    fresh = {key.rpartition(".")[0] for key in own if key not in fits and not key.endswith("num_batches_tracked")}
    if len(fresh) > 2:
        raise UsageError(f"the pretrained weights of {name} do not fit {len(fresh)} layers ({', '.join(sorted(fresh))})"
                         f": leave --pretrained out, or use larger images")  # fmt: skip
    model.load_state_dict(fits, strict=False)
