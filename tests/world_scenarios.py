"""What several processes do together, for tests/test_world.py: each leaves what it found in OUT/RANK.pt.

Started by torchrun as `-m tests.world_scenarios OUT`; the same scenarios run alone, for comparison, in the test.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.fx import GraphModule

from baselines.data import load
from baselines.data.files import FileData
from baselines.training import Diverged, Recipe, evaluate, train
from baselines.world import ALONE, World
from bench.cache import Stage, StageCache
from methods.base import Objective, Refused
from methods.graph import trace
from methods.layers import Mask, constrain
from tests.interruption import Killed, killed_after

BATCH = 37  # of 3 processes none has as many images as another in some batches
RECIPE = Recipe(batch_size=BATCH, precision="fp32", label_smoothing=0.1, clip_norm=1.0)


def digits():
    """An odd number of images."""
    return load("digits:train=298", data_dir=Path("nowhere"))


def network(norm: bool = False, dropout: float = 0.0) -> GraphModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 8, 3), *([nn.BatchNorm2d(8)] if norm else []), nn.ReLU(), nn.Dropout(dropout)]
        size = digits().input_shape[1] - 2
        return trace(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * size * size, 10)))


class Noted(nn.Module):
    """Keeps the numbers that dropout would draw."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.drawn.append(torch.rand(()).item())
        return x


class Taught(Objective):
    """Trains a layer beside the network."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.beside = nn.Linear(10, 10)

    def __call__(self, model: GraphModule, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(images)
        return logits, F.cross_entropy(self.beside(logits), labels) + 0.1 * F.cross_entropy(logits, labels)


def trained(world: World, model: nn.Module, epochs: int = 2, **more: Any) -> dict[str, Any]:
    data = more.pop("data", None) or digits()
    logs = train(
        model, data, stage="dense", epochs=epochs, lr=0.05, recipe=more.pop("recipe", RECIPE), seed=3, world=world,
        **more,
    )  # fmt: skip
    plain = [[log.train_loss, log.train_accuracy, log.validation_accuracy, log.samples] for log in logs]
    return {"state": model.state_dict(), "logs": plain}


def pictures(folder: Path) -> None:
    """Images that stay on disk, for `on_disk`."""
    rng = np.random.default_rng(0)
    for part, label in itertools.product(("train", "val", "test"), range(3)):
        (folder / part / str(label)).mkdir(parents=True)
        for index in range(7):
            pixels = rng.integers(0, 120, (72, 80), dtype=np.uint8) + 60 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / part / str(label) / f"{index}.png")


def on_disk(world: World, out: Path) -> dict[str, Any]:
    """Images that decoding processes read: random cuts of them are those of one process."""
    data = load("folder:size=72", data_dir=out / "pictures")
    assert isinstance(data, FileData)
    assert data.workers
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = trace(nn.Sequential(nn.AvgPool2d(24), nn.Flatten(), nn.Linear(9, 3)))
    return trained(world, model, 2, data=data, recipe=Recipe(batch_size=11, precision="fp32"))


def gradients(world: World, _: Path) -> dict[str, Tensor | None]:
    """Of one step on one batch, with all that a step may have: kept from an optimiser that leaves weights alone."""
    model, aim = network(), Taught()
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model.add_module("priced", nn.Linear(3, 1))  # only in the penalty
        model.add_module("idle", nn.Linear(3, 1))  # in nothing
    found: dict[str, Tensor | None] = {}

    class Keeper(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            named = (*model.named_parameters(), *aim.beside.named_parameters(prefix="beside"))
            found.update({name: None if one.grad is None else one.grad.clone() for name, one in named})

    plain, torch.optim.SGD = torch.optim.SGD, Keeper  # type: ignore[misc]
    try:
        many = Recipe(batch_size=149, precision="fp32", clip_norm=0)  # which 3 do not divide
        price = lambda done: (1 + done) * model.priced.weight.square().sum()  # noqa: E731
        trained(world, model, 1, recipe=many, objective=aim, penalty=price)
    finally:
        torch.optim.SGD = plain  # type: ignore[misc]
    return found


def masked(world: World, _: Path) -> dict[str, Any]:
    """Zeros that become more while it trains, and batch norms that stop on the way."""
    model = network(norm=True)
    layer = model.get_submodule("0")
    mask = Mask(list(layer.weight.shape))
    constrain(layer, "weight", mask)

    def at_step(done: float) -> None:
        stored = layer.parametrizations.weight.original.detach().abs()
        mask.keep = stored > stored.flatten().quantile(done / 2)
        if done > 0.6:
            model.get_submodule("1").eval()

    return trained(world, model, 2, at_step=at_step)


def resumed(world: World, out: Path) -> dict[str, Any]:
    """Cut off in the second of three epochs, and gone on from the first one's snapshot."""
    snapshot = out / f"{world.size}.snapshot.pt"
    with contextlib.suppress(Killed):
        trained(world, network(dropout=0.3), 3, snapshot=snapshot, on_batch=killed_after(12))
    told: list[Any] = []
    found = trained(world, network(dropout=0.3), 3, snapshot=snapshot, on_epoch=told.append)
    return {**found, "told": [one.epoch for one in told], "alone": trained(world, network(dropout=0.3), 3)}


def noise(world: World, _: Path) -> list[list[float]]:
    """What dropout draws in two epochs, and in the same two again."""
    found = []
    for _again in range(2):
        model = network()
        noted = Noted()
        model.add_module("noted", noted)
        chained = nn.Sequential(noted, model)
        trained(world, chained, 2)
        found.append(noted.drawn)
    return found


def scores(world: World, _: Path) -> list[float]:
    """Of batches that do not come out even, and of fewer batches than processes."""
    model, data = network().eval(), digits()
    return [evaluate(model, data, "test", batch=batch, world=world) for batch in (7, 64, 1000)]


def cached(world: World, out: Path) -> dict[str, Any]:
    """An entry stored by all, found by all; one that is damaged is missing for all."""
    told: list[str] = []
    cache = StageCache(out / f"cache-{world.size}", told.append, world)
    found: list[Any] = [cache.load("a")]
    model = network()
    with torch.no_grad():
        model.get_submodule("0").weight.fill_(float(world.rank))  # what the first has is what counts
    cache.store("a", Stage(model))
    kept = cache.load("a")
    found.append(kept and kept.model.get_submodule("0").weight.unique().tolist())
    world.wait()
    if world.first:
        cache.path("a").write_bytes(cache.path("a").read_bytes()[:-9])
    world.wait()
    return {"found": [*found, cache.load("a")], "told": len(told)}


def broken(world: World, _: Path) -> list[str]:
    """Reasons why a training ends."""
    hot = Recipe(lr=1e30, clip_norm=0, batch_size=BATCH, precision="fp32")
    tries: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"recipe": hot}, Diverged),
        ({"subset": 0.001}, Refused),
        ({"recipe": Recipe(batch_size=2)}, Refused),  # of which not every process can have two images
    ]
    found = []
    for settings, kind in tries:
        settings = {"recipe": RECIPE, **settings}
        try:
            train(
                network(), digits(), stage="dense", epochs=1, lr=settings["recipe"].lr, seed=0, world=world, **settings
            )
        except kind as error:
            found.append(str(error))
    return found


SCENARIOS = {
    "gradients": gradients,
    "plain": lambda world, _: trained(world, network()),
    "taught": lambda world, _: trained(world, network(), objective=Taught(), subset=0.5),
    "on_disk": on_disk,
    "norms": lambda world, _: trained(world, network(norm=True), 6),
    "masked": masked,
    "resumed": resumed,
    "noise": noise,
    "scores": scores,
    "cached": cached,
    "broken": broken,
}


def main() -> None:
    from bench.ranks.rank import joined_world

    out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    with joined_world(rank, cuda=False) as world:
        agreed = world.agreed(lambda: f"of {world.rank}")
        count = torch.tensor(float(world.rank + 1))
        world.total(count)
        found = {name: scenario(world, out) for name, scenario in SCENARIOS.items()}
        torch.save({"agreed": agreed, "total": count.item(), **found}, out / f"{rank}.pt")


def alone(name: str, out: Path) -> Any:
    """The scenario in one process."""
    return SCENARIOS[name](ALONE, out)


if __name__ == "__main__":
    main()
