"""Decisions without clock, system or I/O: facts in, an answer out. Everybody may import them."""
