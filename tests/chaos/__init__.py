"""Fault injection: servers and histories that chance has drawn, and what must hold after each."""
