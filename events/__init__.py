"""Recorded actions, in files and in topics: their format, their readers, and the log as columns."""
