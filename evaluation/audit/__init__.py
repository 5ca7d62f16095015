"""Audit of what was served: recomputed, compared, explained."""
