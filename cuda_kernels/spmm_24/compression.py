"""Weights of which at most two in every four neighbours of a row are not zero: what is kept, and where it was.

Stored are the kept two of each four, in order, and two bits for the place of each. The places lie as the tensor cores
want them: word [i, j, 32 s + 4 g + t] is for rows 16 i + g (low half) and 16 i + g + 8 (high half), and for four fours
from column 128 j + 64 s + 16 t on, four bits each, the first place in the lower two.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS, COLUMNS = 16, 128  # of a block of 64 words
TYPES = (torch.bfloat16, torch.float16)
_FIRST_TWO = 0b0100  # places 0 and 1: what stands beyond the matrix, where two places must differ too


def compress_24(dense: Tensor) -> tuple[Tensor, Tensor]:
    """[out, in] -> values [out, in / 2], places int32 [ceil(out / 16), ceil(in / 128), 64].

    Raises:
        ValueError: it is no matrix, `in` is no multiple of 4, or three or four of four neighbours are not zero.
    """
    if dense.dim() != 2 or dense.shape[1] % 4:
        raise ValueError(f"a matrix [out, in] with in a multiple of 4 is needed, got shape {list(dense.shape)}")
    rows, columns = dense.shape
    fours = dense.reshape(rows, columns // 4, 4)
    kept = fours != 0
    if kept.numel() and int(kept.sum(-1).max()) > 2:
        row, four = (kept.sum(-1) > 2).nonzero()[0].tolist()
        raise ValueError(
            f"at most two of every four neighbours may be kept, but row {row} has {fours[row, four].tolist()} from "
            f"column {4 * four} on: prune with pattern=2of4 first"
        )
    # The kept ones first, then zeros to make two, each of the two groups in its order; then both places ascending.
    order = torch.argsort(kept.to(torch.uint8), dim=-1, descending=True, stable=True)
    places = order[..., :2].sort(-1).values
    values = fours.gather(-1, places).reshape(rows, columns // 2)
    return values.contiguous(), _words(places[..., 0] | places[..., 1] << 2)


def expand_24(values: Tensor, places: Tensor) -> Tensor:
    """What `compress_24` took: values [out, in / 2], places as there -> [out, in]."""
    rows, columns = values.shape[0], 2 * values.shape[1]
    bits = _bits(places)[:rows, : columns // 4]  # [out, in / 4]
    where = torch.stack([bits & 3, bits >> 2], dim=-1)
    dense = values.new_zeros(rows, columns // 4, 4)
    return dense.scatter_(-1, where, values.reshape(rows, columns // 4, 2)).reshape(rows, columns)


def _words(bits: Tensor) -> Tensor:
    """int64 [out, in / 4], four bits each -> the words of whole blocks."""
    rows, fours = bits.shape
    down, across = -(-rows // ROWS), -(-4 * fours // COLUMNS)
    padded = torch.full((down * ROWS, across * COLUMNS // 4), _FIRST_TWO, dtype=torch.int64, device=bits.device)
    padded[:rows, :fours] = bits
    # [i, half, g, j, s, t, four] -> [i, j, s, g, t, half, four]
    parts = padded.reshape(down, 2, 8, across, 2, 4, 4).permute(0, 3, 4, 2, 5, 1, 6).reshape(down, across, 64, 8)
    words = (parts << torch.arange(0, 32, 4, device=bits.device)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).int()


def _bits(words: Tensor) -> Tensor:
    """The words of whole blocks -> int64 [16 blocks, 32 blocks], four bits each."""
    down, across, _ = words.shape
    parts = (words.long()[..., None] >> torch.arange(0, 32, 4, device=words.device)) & 15
    parts = parts.reshape(down, across, 2, 8, 4, 2, 4).permute(0, 5, 3, 1, 2, 4, 6)
    return parts.reshape(down * ROWS, across * COLUMNS // 4)
