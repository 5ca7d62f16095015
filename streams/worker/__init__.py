"""The worker's engine: chunks, checkpoints, ownership, changelog, outbox."""
