"""Processes: which of them are ours, and how each has ended."""
