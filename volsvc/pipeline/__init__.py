"""Ticks to forecasts: the producer and consumer tasks and what they feed."""
