"""Vectors by key: tables in memory and mapped from files, and how they are published and followed."""
