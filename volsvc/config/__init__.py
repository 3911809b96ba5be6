"""Settings and their sources; one module for each part of config.toml."""
