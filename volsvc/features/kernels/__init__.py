"""Arithmetic of features in compiled kernels, one module a subject.

A kernel reads numbers, arrays and records that its caller has checked: it has no bounds checks.
"""
