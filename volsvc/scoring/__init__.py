"""Scores of forecasts against outcomes. Pure: no I/O, no clock."""
