"""Candidate generation, for requests that bring no candidates."""
