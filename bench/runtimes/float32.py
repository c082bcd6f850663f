"""fp32 means fp32: torch is told not to lower precision by itself."""

from __future__ import annotations

import torch


def hold_to_float32() -> None:
    """Products and convolutions of float32 in float32, in all of torch: by default cuDNN's convolutions are TF32, whose
    products have 10 bits, and oneDNN's may be bfloat16 where a process has asked for speed."""
    torch.set_float32_matmul_precision("highest")  # cuBLAS and oneDNN
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.mkldnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
