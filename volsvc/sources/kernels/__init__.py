"""Kernels over the columns of recordings."""
