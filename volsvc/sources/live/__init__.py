"""Live venues: connections, parsers, ordering and back-fill."""
