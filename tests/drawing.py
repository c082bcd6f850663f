"""Random tensors that are the same each time."""

import torch
from torch import Tensor, nn


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal values, without touching the global generator."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(layer: nn.Module) -> nn.Module:
    """The layer with all parameters drawn, in eval mode."""
    with torch.no_grad():
        for index, tensor in enumerate(layer.parameters()):
            tensor.copy_(drawn(*tensor.shape, seed=index))
    return layer.eval()
