"""Baselines: trivial rules and collaborative models of each task, tuned on validation."""
