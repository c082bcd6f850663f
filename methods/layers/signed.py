"""Weights that are a sign and a scale, and with three values also zero.

Trained are the float32 weights behind them: a weight's gradient is that of the value that stands for it, passed
straight through (Courbariaux et al. 2015, arXiv 1511.00363; Bengio et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from methods.layers.codebooks import Codebook, looked_up, narrowed, ones, type_name
from methods.layers.constraints import Constraint


class TernaryWeights(Constraint):
    """Gives weights three values, -b, 0.0 and a, one pair of scales for the tensor.

    Weights of a magnitude up to `threshold` times the mean magnitude become 0.0 (Li et al. 2016, arXiv 1605.04711,
    equation 6); those that are 0.0 already, as pruned ones are, do not count in the mean.
    trained: a and b are parameters (Zhu et al. 2017, arXiv 1612.01064, section 3), each of which takes the mean of its
    weights' gradients; otherwise a = b is the mean magnitude of the weights beyond the threshold (equation 5).
    """

    scales: Tensor  # float32 [2]: a, b

    def __init__(self, threshold: float, trained: bool) -> None:
        super().__init__()
        self.threshold, self.trained = threshold, trained
        if trained:
            self.scales = nn.Parameter(torch.ones(2))

    @classmethod
    def of(cls, weight: Tensor, threshold: float, *, trained: bool) -> TernaryWeights:
        """For weights to begin with."""
        ternary = cls(threshold, trained)
        if trained:
            codes, beyond = ternary._codes(weight.detach()), weight.detach().float().abs()
            means = [beyond[codes == code].mean() if bool((codes == code).any()) else beyond.mean() for code in (1, 2)]
            ternary.scales = nn.Parameter(torch.stack(means))
        return ternary

    def config(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "trained": self.trained}

    def forward(self, tensor: Tensor) -> Tensor:
        """[...] float -> the same shape, float32."""
        codes = self._codes(tensor.detach())
        values = looked_up(self._values(tensor, codes), codes)
        return values + (tensor - tensor.detach())  # exactly `values`: adds 0.0

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        """uint8 codes [...], 1 for a, 2 for -b, and the `Codebook` that reads them."""
        codes = self._codes(tensor.detach())
        return codes, Codebook.of(self._values(tensor, codes))

    def _codes(self, tensor: Tensor) -> Tensor:
        magnitude = tensor.abs()
        limit = self.threshold * magnitude.sum() / (magnitude != 0).sum().clamp(min=1)
        return ((tensor > limit).to(torch.uint8)) + 2 * (tensor < -limit).to(torch.uint8)

    def _values(self, tensor: Tensor, codes: Tensor) -> Tensor:
        """a and -b, [2]."""
        if not self.trained:
            beyond = codes != 0
            scale = tensor.detach().float().abs().mul(beyond).sum() / beyond.sum().clamp(min=1)
            return torch.stack([scale, -scale])
        members = torch.stack([(codes == code).sum() for code in (1, 2)]).clamp(min=1)
        slowed = self.scales / members + (self.scales - self.scales / members).detach()
        return slowed * torch.tensor([1.0, -1.0], device=slowed.device)


class BinaryWeights(Constraint):
    """Gives the weights of an output channel two values, -a and a, where a is their mean magnitude (Rastegari et al.
    2016, arXiv 1603.05279, equation 6); 0.0 counts as positive."""

    def config(self) -> dict[str, Any]:
        return {}

    def forward(self, tensor: Tensor) -> Tensor:
        """[out, ...] float -> the same shape, float32."""
        codes, reader = self._codes(tensor.detach())
        return reader(codes) + (tensor - tensor.detach())

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        """uint8 codes [out, ...], 1 for -a, 2 for a, and the `Signs` that read them."""
        codes, reader = self._codes(tensor.detach())
        return codes, Signs.of(reader.scale)

    def _codes(self, tensor: Tensor) -> tuple[Tensor, Signs]:
        reader = Signs(len(tensor))
        reader.scale = tensor.float().abs().flatten(1).mean(1)
        return (tensor >= 0).to(torch.uint8) + 1, reader


class Signs(Constraint):
    """Reads uint8 codes [out, ...] back as float32: -scale[out] for 1, scale[out] for 2, 0.0 for 0."""

    scale: Tensor  # [out]

    def __init__(self, channels: int, dtype: str = "fp32") -> None:
        super().__init__()
        self.register_buffer("scale", ones(channels, dtype))

    @classmethod
    def of(cls, scale: Tensor) -> Signs:
        """scale: float [out], stored as `Codebook` stores centroids."""
        reader = cls(len(scale))
        reader.scale = narrowed(scale)
        return reader

    def config(self) -> dict[str, Any]:
        return {"channels": len(self.scale), "dtype": type_name(self.scale)}

    def forward(self, tensor: Tensor) -> Tensor:
        signs = looked_up(torch.tensor([-1.0, 1.0], device=self.scale.device), tensor)
        return signs * self.scale.float().view(-1, *(1,) * (tensor.ndim - 1))

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return tensor, self
