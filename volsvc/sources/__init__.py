"""Sources of ticks: recordings, the generator and live venues.

- `base`: the protocols of a source and of the events that it reports.
- `factory`: makes the configured source.
- `replay`, `pacing`: replay a recording or the generator at the pace of its event times.
- `recordings`: reads files, folders and pipes of ticks or bars; `recorder` writes files.
- `generator`: simulates markets with a known volatility.
- `live`: the live venues, Coinbase and Kraken.
- `download`: fetches historical trades and candles.
"""
