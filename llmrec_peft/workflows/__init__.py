"""Workflows: one job a file, from recipe to result."""
