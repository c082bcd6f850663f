"""Sparse matrix, by compressed rows, times vector."""
