"""Kernels over the rows of minutes."""
