"""The Kafka bus, on aiokafka."""
