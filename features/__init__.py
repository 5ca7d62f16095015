"""What is known of a user and of an item at a time; no torch, no Kafka: the ground of the house."""
