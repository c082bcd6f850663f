"""What the reloading process does: opens the exported file alone, and scores it over the whole test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.exporting import FORMATS
from bench.exporting.base import Facts
from bench.measure.messages import ReloadAnswer, ReloadRequest
from bench.runtimes import RuntimeFailure, Session

_BATCHES = (1, 3)  # tried besides the one that is scored: the batch size is to be free


def rescored(request: ReloadRequest) -> ReloadAnswer:
    """Accuracy of the exported file, or why it does not run.

    Raises:
        UsageError: the data set is missing, or not the one that the file's own facts state.
    """
    path, form = Path(request.file), FORMATS[request.form]
    try:
        session, facts = form.load(path, request.threads), form.facts(path)
        _try_batches(session, facts)  # before any code of ours is imported that could lend the file what it lacks
    except RuntimeFailure as error:
        return ReloadAnswer(None, str(error))
    except Exception as error:  # a runtime may raise anything
        return ReloadAnswer(None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    from bench.measure import accuracy
    from bench.measure.logits import FirstLogits
    from bench.measure.score import open_data

    data = open_data(request.data, facts)
    batches = (
        (np.ascontiguousarray(images.numpy()), labels.numpy())
        for images, labels in data.batches("test", request.batch, device="cpu")
    )
    logits = FirstLogits()
    counts = accuracy.score(session.run, batches, request.batch, logits.add)
    np.save(request.logits, logits.all())
    return ReloadAnswer(counts, "")


def _try_batches(session: Session, facts: Facts) -> None:
    for batch in _BATCHES:
        shape = session.run(np.zeros((batch, *facts["input_shape"]), np.float32)).shape
        if shape != (batch, facts["classes"]):
            raise RuntimeFailure(f"logits of {batch} images are {list(shape)}, not {[batch, facts['classes']]}")
