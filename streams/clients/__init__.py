"""Producers and readers of the topics for people and programs outside of workers."""
