"""The path from ticks to forecasts: the producer and consumer tasks, and what they feed.

- `producer`: from a source to the ticks topic.
- `consumer`: from the ticks topic, batch by batch: apply, forecast, publish, commit.
- `tick_applier`: records applied to the states of their symbols.
- `forecaster`: forecasts of those states with the active model.
- `output_publisher`: states, forecasts, outcomes and dead letters, published in a safe order.
- `state_recovery`: states restored, kept and released as partitions are assigned and revoked.
- `features_follower`: the forecasts of other instances.
- `latest_store`, `event_hub`: the newest forecast of each symbol, and the events of streams.
- `quality_monitor`, `quality_metrics`: live scores of all symbols.
"""
