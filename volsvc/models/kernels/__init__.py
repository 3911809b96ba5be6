"""Arithmetic of models in compiled kernels, one module a subject.

A kernel reads arrays and records that its caller has checked: it has no bounds checks. A row's
forecast is its own, so that its bits do not depend on the rows beside it.
"""
