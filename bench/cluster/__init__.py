"""Runs spread over machines by Ray (`--ray`)."""
