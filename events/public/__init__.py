"""Public logs as they are published, each translated once."""
