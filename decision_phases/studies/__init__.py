"""Whole jobs: what is run, in which order, and what is kept of it."""
