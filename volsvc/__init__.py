"""Real-time volatility forecasts for crypto markets, in one asyncio daemon."""

__version__ = "1.0.0"
