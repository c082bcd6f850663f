"""The connection to Ray: a cluster that runs, or one of this machine alone that lives as long as the run."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from baselines.errors import UsageError
from bench.cluster.needs import Node

LOCAL = "local"  # what `--ray` without an address means, unless RAY_ADDRESS is set
_CONNECT_S = 5.0
_ADDRESS = re.compile(r"(?:ray://)?(?P<host>\[[0-9a-fA-F:]+\]|[^:/\s]+):(?P<port>[0-9]{1,5})")


def the_ray() -> ModuleType:
    """The package.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError("--ray needs Ray, which is not installed: pip install -r requirements-extra.txt") from error


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Connects this process for the time of the block.

    address: HOST:PORT of a cluster, "auto" for the one that runs on this machine, or LOCAL.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at that address.
    """
    address = (address == LOCAL and os.environ.get("RAY_ADDRESS")) or address
    ray = the_ray()
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    variables = {}
    if address == LOCAL:
        # the latter: by default workers yield to everything else on the machine, and latency is measured in them
        variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
        settings |= {"include_dashboard": False}
    elif _has_token():  # a cluster that was started beside a token wants it, but nobody sends it
        variables = {"RAY_AUTH_MODE": "token"}
    if address not in (LOCAL, "auto"):
        _reach(address)
    with _unless_set(variables):
        try:
            ray.init(address=address, **settings)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise UsageError(f"--ray {address}: {' '.join(str(error).split())[:200]}") from error
        _hush()
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _unless_set(variables: Mapping[str, str]) -> Iterator[None]:
    """These environment variables for the time of the block, but for those that a person has set."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _has_token() -> bool:
    """Whether this person has a token of Ray's."""
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()


def _hush() -> None:
    """Keeps Ray from writing paragraphs between our lines when a process is lost: the driver tells of it in one. It has
    no setting for that."""
    inside: Any = importlib.import_module("ray._private.worker")
    inside._worker_logs_enabled = False  # where a version has another name for it, the paragraphs are there again


def _reach(address: str) -> None:
    """Raises `UsageError` where nothing listens: Ray itself would try for minutes."""
    found = _ADDRESS.fullmatch(address)
    if not found:
        raise UsageError(f"--ray {address!r} is no address: give HOST:PORT as `ray start` prints it, auto, or local")
    try:
        with socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=_CONNECT_S):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--ray {address}: nothing answers there ({reason}): `ray start --head` begins one") from error


def nodes() -> list[Node]:
    """The machines of the cluster that are there now and have CPUs to give."""
    found = []
    for one in the_ray().nodes():
        have = one["Resources"]
        if one["Alive"] and have.get("CPU", 0) >= 1:
            found.append(
                Node(
                    one["NodeID"], one["NodeManagerAddress"], int(have["CPU"]), int(have.get("GPU", 0)),
                    int(have.get("memory", 0)),
                )
            )  # fmt: skip
    return found


def device_on(machines: list[Node], asked: str) -> str:
    """What `--device` means on a cluster: "cpu" or "cuda", of which Ray gives each case its own.

    Raises:
        UsageError: a GPU by number, or no machine has one.
    """
    has_gpus = any(node.gpus for node in machines)
    if asked == "auto":
        return "cuda" if has_gpus else "cpu"
    if ":" in asked:
        raise UsageError(f"--device {asked} does not go with --ray, which gives each case a GPU: write --device cuda")
    if asked == "cuda" and not has_gpus:
        raise UsageError("--device cuda: no machine of the Ray cluster has a GPU; use --device cpu")
    return asked
