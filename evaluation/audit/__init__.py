"""Audit of what was served: computed again, compared, explained."""
