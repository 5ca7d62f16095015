"""Candidates for requests that bring none."""
