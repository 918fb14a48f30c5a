"""The prediction log in Kafka."""
