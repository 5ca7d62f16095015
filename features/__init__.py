"""What is known of a user and of an item at a time; imported by everything else, imports neither torch nor Kafka."""
