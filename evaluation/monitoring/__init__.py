"""Served feeds over time: what is taken of them, whether probabilities hold, whether inputs drift."""
