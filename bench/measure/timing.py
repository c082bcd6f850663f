"""What the timing process does: one artifact and the dense one by turns, on made-up images.

For choosing a setting before a run: what is chosen is measured again, as every row is. Imports torch; only the
measuring process loads this module.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from baselines.errors import UsageError
from bench.artifact import ArtifactError, load
from bench.measure.deployment import prepared
from bench.measure.latency import Sampling, interleaved
from bench.measure.messages import TimeAnswer, TimeRequest
from bench.measure.score import finished_run, one_line
from bench.runtimes import RUNTIMES

_SEED = 0  # of the images, standard normal as normalised images are


def timed(request: TimeRequest) -> TimeAnswer:
    """The samples, or the reason why there are none. Whatever a runtime raises becomes that reason."""
    torch.set_num_threads(request.threads)
    runtime = RUNTIMES[request.runtime]
    if reason := runtime.unavailable(request.device):
        return TimeAnswer((), (), reason)
    try:
        artifacts = [load(Path(path)) for path in (request.artifact, request.dense)]
        shape = (request.batch, *artifacts[0].metadata["input_shape"])
        images = np.random.default_rng(_SEED).standard_normal(shape, dtype=np.float32)
        runs = []
        for one in artifacts:
            file = prepared(runtime, one, Path(request.work))
            session = runtime.load(one.model, file, threads=request.threads, device=request.device)
            runs.append(finished_run(session, images, request.device))
        _, samples = interleaved(runs, Sampling.of(request.batch, request.budget_s))
    except (ArtifactError, UsageError, OSError):
        raise
    except Exception as error:  # a runtime may raise anything
        return TimeAnswer((), (), f"{type(error).__name__}: {one_line(error)}")
    return TimeAnswer(samples[0], samples[1], "")
