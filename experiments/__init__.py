"""The papers' tables on public logs; not installed."""
