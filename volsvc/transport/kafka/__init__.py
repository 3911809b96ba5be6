"""The Kafka bus, on aiokafka.

- `subscription`: the ticks topic, read as a member of the consumer group; here a batch comes in.
- `log_reader`: partitions read without a group: to restore states, to follow, to look at ends.
- `message`: a message of aiokafka as a record of ours.
- `publisher`: records out.
- `bus`: the parts above behind the interface of every bus.
- `client`, `positions`, `progress`: options and retries, offsets, and lag.
"""
