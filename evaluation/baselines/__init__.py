"""Baselines: simple rankers without training, which learn from a log as it arrives."""
