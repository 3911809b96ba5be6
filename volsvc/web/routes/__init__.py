"""Handlers, one module per subject."""
