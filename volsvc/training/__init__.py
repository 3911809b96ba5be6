"""Fit and evaluate models, with the feature engine that the daemon runs."""
