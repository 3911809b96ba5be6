"""Live ticks of a venue over WebSocket, with missed trades fetched over REST.

To add a venue, implement the protocol `Venue` in a module of its own and enter the class in the
`venue_table`, and its name in `VenueName` of `volsvc.config.live`. A test compares the two.

- `venue`: the protocol that a venue implements, and the messages that its parser returns.
- `coinbase`, `kraken`: the venues.
- `venue_table`: the venues by name.
- `source`: the source of ticks, made of the parts below.
- `connection`: one WebSocket connection: subscribe, read, reconnect.
- `message_reader`: the messages of an open connection.
- `reconnect`: the waits before a connection is tried again, and the symbols that it leaves out.
- `watchdog`: the deadlines that find a silent connection.
- `sequence`: lost, repeated and overtaken messages of a connection.
- `trade_sequencer`: the trades of a symbol in the order of their ids.
- `backfill`, `rest`: fetch the missing trades.
"""
