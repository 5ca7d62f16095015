"""Readers of recorded actions, a file a format, batch by batch."""
