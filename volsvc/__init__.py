"""volsvc: real-time volatility forecasts for crypto markets, in one asyncio daemon."""

__version__ = "0.1.0"
