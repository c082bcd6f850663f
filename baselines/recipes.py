"""How a network is trained and fine-tuned: the recipe, and the one that suits a network and a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from baselines.errors import UsageError

Precision = Literal["fp32", "bf16", "auto"]


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum under a warm-up and a cosine.

    lr, finetune_lr: peak learning rates of training from scratch and of each fine-tuning.
    warmup: fraction of the steps in which the rate rises; the cosine takes the rest.
    weight_decay: on weights alone, not on biases, norms and other vectors.
    clip_norm: longest gradient let through; 0 lets all through.
    precision: bf16 computes in bfloat16 where torch's autocast finds it safe; auto does so where the machine has
    instructions for it.
    """

    epochs: int = 20
    finetune_epochs: int = 5
    batch_size: int = 128
    lr: float = 0.1
    finetune_lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.2
    label_smoothing: float = 0.0
    clip_norm: float = 5.0
    augment: bool = True
    precision: Precision = "auto"
    deterministic: bool = False

    def __post_init__(self) -> None:
        limits = {
            "epochs": (0, None), "finetune_epochs": (0, None), "batch_size": (2, None), "weight_decay": (0, None),
            "clip_norm": (0, None), "momentum": (0, 1), "warmup": (0, 1), "label_smoothing": (0, 1),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not (low <= value and (high is None or value < high)):
                upper = "" if high is None else f" and below {high}"
                raise UsageError(f"{name} must be at least {low}{upper}, got {value}: change it")
        for name in ("lr", "finetune_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be above 0, got {getattr(self, name)}: 0.1 is usual for SGD")
        if self.precision not in ("fp32", "bf16", "auto"):
            raise UsageError(f"precision must be fp32, bf16 or auto, got {self.precision!r}: choose one of them")


_NATURAL = Recipe(epochs=30, finetune_epochs=5, batch_size=128, lr=0.2, finetune_lr=0.02)
_LARGE = Recipe(epochs=90, finetune_epochs=5, batch_size=256, lr=0.5, finetune_lr=0.02, weight_decay=5e-5,
                warmup=0.1, label_smoothing=0.1)  # fmt: skip
_DIGITS = Recipe(epochs=5, finetune_epochs=2, batch_size=64, lr=0.1, finetune_lr=0.02)
_MNIST = Recipe(epochs=6, finetune_epochs=3, batch_size=128, lr=0.1, finetune_lr=0.02)
_OF_DATA = {"digits": _DIGITS, "fake": _DIGITS, "mnist": _MNIST, "fashion_mnist": _MNIST,
            "imagenet": _LARGE, "cub200": _LARGE}  # fmt: skip
_QUICK = (
    "lenet",
    "lenet_caffe",
    "lenet300",
    "mlp",
    "resnet8",
)  # networks whose epoch is over in an instant on few images
_WITHOUT_BATCH_NORM = ("lenet", "mlp", "conv6", "alexnet", "squeezenet", "vit_", "swin_", "convnext")
_PLAIN_VGG = ("vgg11", "vgg13", "vgg16", "vgg19")


def default_recipe(net: str, dataset: str) -> Recipe:
    """The recipe for a network and a data set as the command line names them."""
    name, kind = net.partition(":")[0], dataset.partition(":")[0]
    recipe = _OF_DATA.get(kind, _NATURAL)
    if recipe is _DIGITS and name in _QUICK:
        recipe = replace(recipe, epochs=20, finetune_epochs=8)
    if name.startswith(_WITHOUT_BATCH_NORM) or name in _PLAIN_VGG:
        recipe = replace(recipe, lr=recipe.lr / 2, finetune_lr=recipe.finetune_lr / 2)
    if name == "resnet8":
        recipe = replace(recipe, weight_decay=2e-4, epochs=40 if recipe is _NATURAL else recipe.epochs)
    return recipe
