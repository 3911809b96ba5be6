"""Settings, one module per part of the file, and how they are read."""
