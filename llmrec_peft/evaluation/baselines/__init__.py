"""Baselines: simple rules and collaborative models for each task, tuned on validation."""
