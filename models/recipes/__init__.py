"""Whole trainings, end to end: which models, on what, into which folder and bundle."""
