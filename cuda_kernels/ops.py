"""The operations, typed and checked: on a GPU our kernels, on the CPU the references. They work under `torch.compile`."""

from cuda_kernels.gemv_f32.op import gemv_f32

__all__ = ["gemv_f32"]
