"""Fitting and judging models, with the engine that the daemon runs."""
