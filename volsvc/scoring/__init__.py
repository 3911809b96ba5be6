"""Forecasts against outcomes: losses, scores and tests. Pure: no I/O, no clock."""
