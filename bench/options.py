"""The command's options: one table for the command line and for `--config` files. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baselines.errors import UsageError
from bench.bounds import Bound, parse_bounds
from bench.cluster.needs import Needs, parse_needs
from bench.goals import Goal, Target, parse_goal, parse_targets
from bench.tracking_uri import parse_uri

DATA_DIR = Path(".data")  # where data sets are looked for unless the command says

_MOST_SEEDS = 2**31  # what every generator of random numbers in use takes


def _whole(text: str) -> int:
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(int(part) for part in str(text).split(","))
    if len(set(seeds)) < len(seeds) or not 0 <= min(seeds) <= max(seeds) < _MOST_SEEDS:
        raise ValueError(f"seeds must differ, not be negative and be below {_MOST_SEEDS}")
    return seeds


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in str(text).split(",") if part.strip()))


def _filled(text: str) -> str:
    if not text.strip():  # as of a shell's variable that is not set
        raise ValueError("empty")
    return text


def _option(
    default: Any, help: str, example: str, parse: Any = str, choices: tuple[str, ...] = (), bare: str | None = None
) -> Any:
    """One line of the table. bare: what the option means without a value, where it may have none."""
    metadata = {"help": help, "example": example, "parse": parse, "choices": choices, "bare": bare}
    return field(default=default, metadata=metadata)


def flag_of(name: str) -> str:
    """How an option is written on the command line."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True)
class Options:
    """What a person asked for. Each field is an option of the same name, with dashes."""

    methods: str = _option(
        "dct,qat,prune",
        "chains of methods, a row each: NAME[:KEY=VALUE]..., joined by + to run in order; values a/b/c make rows",
        '--methods "dct:keep=0.25:layers=linear,prune:sparsity=0.5/0.8/0.9,prune:sparsity=0.8+qat"',
    )
    net: str = _option(
        "resnet18",
        "a network of --list, any torchvision classifier, timm:NAME, or path/to/file.py:factory",
        "--net alexnet:width=1024",
    )
    dataset: str = _option("digits", "a data set of --list; `folder` is a folder of class folders", "--dataset mnist")
    data_dir: Path | None = _option(None, "where data sets are looked for (default: .data)", "--data-dir ~/data", Path)
    download: bool = _option(False, "fetch a data set that is missing", "--download", bool)
    orders: bool = _option(False, "try each chain's other orders too", "--orders", bool)
    no_controls: bool = _option(
        False, "leave out the rows that methods are compared with besides the dense network", "--no-controls", bool
    )
    layers: str = _option(
        "all",
        "which layers methods act on where the chain does not say",
        "--layers linear",
        str,
        ("all", "conv", "linear"),
    )
    epochs: int | None = _option(None, "epochs of dense training (default: the net's recipe)", "--epochs 12", _whole)
    finetune_epochs: int | None = _option(
        None, "epochs each method may train (default: the net's recipe)", "--finetune-epochs 4", _whole
    )
    batch_size: int | None = _option(None, "images a training step (default: the recipe)", "--batch-size 128", _whole)
    lr: float | None = _option(None, "peak learning rate of dense training (default: the recipe)", "--lr 0.1", float)
    finetune_lr: float | None = _option(
        None, "peak learning rate of fine-tuning (default: the recipe)", "--finetune-lr 0.05", float
    )
    no_augment: bool = _option(
        False, "train on images as they are: neither shifted, cropped at random nor mirrored", "--no-augment", bool
    )
    precision: str = _option(
        "auto",
        "arithmetic of training; auto takes bf16 where it is the faster one",
        "--precision fp32",
        str,
        ("auto", "fp32", "bf16"),
    )
    seeds: tuple[int, ...] = _option((0,), "seeds, each with a dense network of its own", "--seeds 0,1,2", _seeds)
    deterministic: bool = _option(False, "refuse operations whose result may vary", "--deterministic", bool)
    device: str = _option("auto", "auto, cpu, cuda or cuda:N", "--device cuda:0")
    processes: int = _option(
        1,
        "processes that train one network together, by torchrun, one a GPU (or with --device cpu)",
        "--processes 4",
        _whole,
    )
    threads: int = _option(1, "CPU threads while latency and memory are measured", "--threads 2", _whole)
    runtimes: tuple[str, ...] = _option(
        ("eager", "onnxruntime"),
        "what runs the file: eager, onnxruntime, openvino, inductor, aoti, cudagraphs, fp16, bf16, int8_gemm, "
        "cuda_kernels",
        "--runtimes eager,inductor",
        _names,
    )
    weights: Path | None = _option(
        None, "a trained checkpoint (.pt or .safetensors state dict) to start from", "--weights my_resnet18.pt", Path
    )
    pretrained: bool = _option(False, "start from the library's trained weights", "--pretrained", bool)
    at: tuple[Target, ...] = _option(
        (),
        "compare chains at one point: finds, on validation data, the strength at which each is so many times smaller "
        "(size), faster (latency), or loses so many points (drop)",
        "--methods dct,prune,prune+ptq --at size=8x",
        parse_targets,
    )
    search: Goal | None = _option(
        None,
        "find a chain and its settings within limits of size, latency, drop, params, macs: the smallest file, or what "
        "is to be minimised; searches over all methods, or those of --methods",
        '--search "size<=200KB,drop<=1"',
        parse_goal,
    )
    trials: int = _option(60, "most chains that --search tries", "--trials 200", _whole)
    search_minutes: float | None = _option(
        None, "most minutes of trials of --search (default: all of --trials)", "--search-minutes 25", float
    )
    out: Path | None = _option(
        None,
        "folder of this run (default: runs/NET-DATASET-ID), or the file of --export or --compare",
        "--out runs/first",
        Path,
    )
    fail_if: tuple[Bound, ...] = _option(
        (),
        "changes from OLD to NEW that fail --compare: accuracy in points (`accuracy<-0.3 significantly`: beyond noise "
        "too); size,\n  params, macs, memory and latency_ms in % or their unit; latency (beside dense of its run) in %",
        '--compare runs/before runs/after --fail-if "accuracy<-0.3,size>+2%"',
        parse_bounds,
    )
    mlflow: str | None = _option(
        None,
        "log every row to MLflow, while the run goes on and after it: the address of a server, or a database file",
        "--mlflow http://localhost:5000, or --mlflow sqlite:///mlflow.db",
        parse_uri,
    )
    tensorboard: bool = _option(
        False, "write every row's curves and measures for TensorBoard, below the run's folder", "--tensorboard", bool
    )
    to: str | None = _option(None, "format of --export: onnx, openvino, pt2, aoti", "--export row.nnc --to onnx")
    ray: str | None = _option(
        None,
        "spread the cases over the machines of a Ray cluster: HOST:PORT, auto, or, without a value, RAY_ADDRESS or "
        "this\n  machine alone; they share --out, --cache, data and code",
        "--ray 10.0.0.1:6379",
        _filled,
        bare="local",
    )
    needs: Needs | None = _option(
        None,
        "what a case takes of a machine of --ray while it is made (default: cpus=4, or one GPU and its share of CPUs, "
        "and an\n  estimate of the memory)",
        "--ray --needs cpus=4,gpus=1,memory=8GB",
        parse_needs,
    )
    cache: Path = _option(Path("runs/.cache"), "trained networks, shared by all runs", "--cache /scratch/nets", Path)

    def __post_init__(self) -> None:
        limits = {"epochs": 0, "finetune_epochs": 0, "batch_size": 2, "threads": 1, "processes": 1, "trials": 1}
        for name, least in limits.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{flag_of(name)} must be {least} or more, got {value}")
        if self.at and self.search:
            raise UsageError("--at and --search each choose the chains that run: give one of them")
        if self.needs and not self.ray:
            raise UsageError(f"--needs {self.needs} is what a case takes of a Ray cluster: add --ray")
        if self.ray and (self.at or self.search):
            flag = "--at" if self.at else "--search"
            raise UsageError(
                f"{flag} tries one chain after another, here: run it without --ray, and what it chose with"
            )
        for name in ("lr", "finetune_lr", "search_minutes"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < float("inf"):
                raise UsageError(f"{flag_of(name)} must be a positive number, got {rate}")
        if not self.runtimes:
            raise UsageError("--runtimes is empty: name at least one, as in --runtimes eager")
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", self.device):
            raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, got {self.device!r}")
