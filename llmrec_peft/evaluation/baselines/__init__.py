"""Baselines: trivial lines and collaborative models of each task, tuned on validation."""
