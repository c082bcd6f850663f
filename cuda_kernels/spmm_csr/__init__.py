"""Sparse matrix, by compressed rows, times dense matrix."""
