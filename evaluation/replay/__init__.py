"""Replay of a log through the pipeline that serves, measured."""
