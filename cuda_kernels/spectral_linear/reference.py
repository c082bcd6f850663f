"""A linear layer stored as the low frequencies of its weight, in plain torch with double accumulation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BASES = ("dct", "dst")


def basis(kind: str, features: int, kept: int, device: torch.device | str = "cpu") -> Tensor:
    """The first `kept` rows of the orthonormal DCT-II or DST-II: float64 [kept, features].

    sqrt(2/n) cos(pi (2i + 1) k / 2n), row 0 by sqrt(1/2), or sqrt(2/n) sin(pi (2i + 1) (k + 1) / 2n), row n - 1 by
    sqrt(1/2).
    """
    k, i = torch.arange(kept, device=device)[:, None], torch.arange(features, device=device)
    if kind == "dct":
        wave, half = torch.cos(_angle((2 * i + 1) * k, 4 * features)), 0
    else:
        wave, half = torch.sin(_angle((2 * i + 1) * (k + 1), 4 * features)), features - 1
    wave *= math.sqrt(2 / features) if features else 0.0
    wave[half : half + 1] *= math.sqrt(0.5)
    return wave


def cosines(features: int) -> Tensor:
    """float64 [4 features]: cos(2 pi m / 4 features), from which every entry of a basis can be looked up."""
    return torch.cos(_angle(torch.arange(4 * features), 4 * features))


def _angle(numerator: Tensor, denominator: int) -> Tensor:
    """2 pi numerator / denominator in float64, whole turns taken off in integers."""
    whole = max(denominator, 1)
    return (numerator % whole).double() * (2 * math.pi / whole)


def spectral_linear(
    x: Tensor, coefficients: Tensor, bias: Tensor | None, out_features: int, in_basis: str, out_basis: str
) -> Tensor:
    """[batch, in], [kept_out, kept_in], [out] or None -> [batch, out], of the type of x."""
    kept_out, kept_in = coefficients.shape
    analysed = x.double() @ basis(in_basis, x.shape[1], kept_in, x.device).T  # [batch, kept_in]
    y = analysed @ coefficients.double().T @ basis(out_basis, out_features, kept_out, x.device)
    return (y if bias is None else y + bias.double()).to(x.dtype)
