"""Actions as they are recorded, wherever they lie: the one house of the log."""
