"""Kernels that read records."""
