"""GPU kernels, one folder an operation, with their build and their benchmark. `cuda_kernels.ops` holds what is called.

Importing this package builds nothing, loads nothing and needs no GPU.
"""
