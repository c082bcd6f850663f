"""What tests of shared values have in common."""

from bench.artifact import load, save, ship
from tests.quantization_example import Plain, network, task, train_a_little

SHARING = ["cluster", "ternary", "binary"]


def compressed(method, kind=Plain, before=None):
    model = network(kind) if before is None else before.compress(network(kind), task(train_a_little))
    return method.compress(model, task(train_a_little))


def read_back(model, folder):
    save(ship(model), folder / "one.nnc", {})
    return load(folder / "one.nnc").model


def idle(model, **_):
    """A fine-tuning that does nothing."""
    return model.eval()
