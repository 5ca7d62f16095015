"""The command ``rankstream``."""
