"""One process: its parts built, started, supervised and drained."""
