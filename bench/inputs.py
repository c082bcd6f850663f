"""From options to a job: opens the data, describes the network's source by content, and makes the plan."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from baselines import data as datasets
from baselines import nets
from baselines.data import ImageData
from baselines.errors import UsageError, nearest
from baselines.training import Recipe, default_recipe
from bench.cache import StageCache
from bench.chains import Chain, all_stages
from bench.command import Command
from bench.controls import controls_of, orders_of
from bench.estimate import Sizes
from bench.grammar import Methods, parse_chains
from bench.job import Job, check_processes, chosen_device, set_up_torch
from bench.measure.macs import macs_of
from bench.naming import Naming, file_hash
from bench.options import DATA_DIR, Options
from bench.plan import Row, Source, make_plan
from bench.runtimes import RUNTIMES
from methods.graph import UntraceableError, trace


def make_job(
    command: Command,
    methods: Methods,
    complain: Callable[[str], None],
    device: str | None = None,
    described: dict[str, Any] | None = None,
) -> Job:
    """The job that `command` asks for, checked as far as it can be without training.

    device: "cpu" or "cuda", where that is known of the machines that will do it; None looks at this one.
    described: what identifies the data, where another process of the run has found it out: of many files that is long.

    Raises:
        UsageError: something that cannot be carried out.
    """
    options = command.options
    parse_chains(options.methods, methods, options.layers)  # mistakes are told before data are read
    for runtime in options.runtimes:
        if runtime not in RUNTIMES:
            raise UsageError(f"unknown runtime {runtime!r}: {nearest(runtime, RUNTIMES)}")
    gpus = None if device else torch.cuda.device_count()  # of other machines Ray keeps the account
    device = device or chosen_device(options.device)
    set_up_torch(options.deterministic)
    data_dir = options.data_dir or DATA_DIR
    request = {"name": options.dataset, "data_dir": str(data_dir)}  # as typed: it goes into the file
    data = datasets.load(options.dataset, data_dir=data_dir, download=options.download)
    described = described or _describe_data(data)
    recipe = make_recipe(options)
    check_processes(options, device, gpus, data.count("train"), recipe.batch_size)
    trained_on = device.partition(":")[0] + (f" x{options.processes}" if options.processes > 1 else "")

    means = _Means(options, methods, data, described, trained_on)
    chains = means.chains_of(options.methods)
    try:
        macs = macs_of(trace(means.network(options.net, 0)), data.input_shape)
    except UntraceableError as error:
        raise UsageError(f"--net {options.net}: {error}; a network must be traceable by torch.fx") from error
    source = means.source_of(options.net)
    plan = make_plan(
        source,
        chains,
        added=_added(options, chains, methods, source.recipe, complain),
        seeds=options.seeds,
        runtimes=options.runtimes,
        threads=options.threads,
        command=command.typed,
    )
    name = options.net.rpartition("/")[2].replace(":", "-")
    if options.out and options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out {options.out} is a file: give a folder")
    out = options.out or Path("runs") / f"{name}-{options.dataset.partition(':')[0]}-{plan.id[:8]}"
    sizes = Sizes(macs, data.count("train"), data.count("test"), device.startswith("cuda"), options.processes)
    cache = StageCache(options.cache, complain)
    command = dataclasses.replace(command, options=dataclasses.replace(options, out=out))
    return Job(
        command, plan, data, request, means.network, means.source_of, means.chain_of, means.chains_of, sizes, device,
        out, cache, options.processes,
    )  # fmt: skip


@dataclass(frozen=True)
class _Means:
    """What names on the command line stand for."""

    options: Options
    methods: Methods
    data: ImageData
    described: dict[str, Any]  # what identifies the data
    trained_on: str  # device, and how many processes

    def network(self, net: str, seed: int) -> torch.nn.Module:
        own = _asked_for(self.options, net)
        return nets.build(
            net,
            classes=self.data.classes,
            input_shape=self.data.input_shape,
            seed=seed,
            pretrained=own.pretrained,
            weights=own.weights,
        )

    def source_of(self, net: str) -> Source:
        own = _asked_for(self.options, net)
        return Source(_describe_net(own), self.described, make_recipe(own), self.trained_on)

    def chain_of(self, text: str) -> Chain | None:
        if text == "dense":
            return None
        found = self.chains_of(text)
        if len(found) > 1:
            raise UsageError(f"{text} stands for {len(found)} chains: name one of them")
        return found[0]

    def chains_of(self, text: str) -> tuple[Chain, ...]:
        found = parse_chains(text, self.methods, self.options.layers, self._naming)
        blank = torch.zeros(2, *self.data.input_shape)
        for stage in all_stages(found):
            if why := stage.method.unsuited(self._untrained, blank):
                raise UsageError(f"{stage.label}: {why}")
        return found

    @functools.cached_property
    def _naming(self) -> Naming:
        return Naming(self.data, self.network, self.source_of)

    def _untrained(self, net: str) -> torch.nn.Module:
        return self.network(self.options.net if net == "dense" else net, 0)


def _added(
    options: Options, chains: tuple[Chain, ...], methods: Methods, recipe: Recipe, complain: Callable[[str], None]
) -> tuple[Row, ...]:
    """The rows that nobody typed: other orders and controls; one that is both is another order."""
    orders = orders_of(chains) if options.orders else ()
    if options.no_controls:
        return orders
    controls, said = controls_of(chains, methods, recipe)
    for line in said:
        complain(line)
    there = {row.chain.text for row in orders}
    return (*orders, *(row for row in controls if row.chain.text not in there))


def _asked_for(options: Options, net: str) -> Options:
    """The options as they hold for `net`: a checkpoint is that of `--net` alone."""
    return options if net == options.net else dataclasses.replace(options, net=net, pretrained=False, weights=None)


def make_recipe(options: Options) -> Recipe:
    """The net's recipe on the data set with what the options change. A person's own checkpoint is not trained further
    unless `--epochs` says so."""
    recipe = default_recipe(options.net, options.dataset)
    changes: dict[str, Any] = {
        name: value
        for name in ("epochs", "finetune_epochs", "batch_size", "lr", "finetune_lr", "precision")
        if (value := getattr(options, name)) is not None
    }
    if options.weights and options.epochs is None:
        changes["epochs"] = 0
    if options.no_augment:
        changes["augment"] = False
    return dataclasses.replace(recipe, deterministic=options.deterministic, **changes)


def _describe_net(options: Options) -> dict[str, Any]:
    source = options.net.rpartition(":")[0]
    own_file = Path(source) if source.endswith(".py") else None
    return {
        "spec": options.net,
        "pretrained": options.pretrained,
        "weights": file_hash(options.weights) if options.weights else "",
        "file": file_hash(own_file) if own_file else "",
    }


def _describe_data(data: ImageData) -> dict[str, Any]:
    parts = {split: data.count(split) for split in ("train", "validation", "test")}
    statistics = [round(float(value), 9) for value in (*data.mean, *data.std)]
    shape = [int(size) for size in data.input_shape]
    return {
        "title": data.name,
        "classes": list(data.class_names),
        "shape": shape,
        "parts": parts,
        "norm": statistics,
        "digest": data.digest(),
    }
