"""API keys, scopes, rate limits and browser rules."""
