"""Where ticks come from: recorded files and the seeded generator."""
