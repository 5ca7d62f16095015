"""Offline evaluation: replay, audit, off-policy estimates, reports."""
