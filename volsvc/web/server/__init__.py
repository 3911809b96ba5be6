"""The HTTP server: connections, fast path, middleware and wire format."""
