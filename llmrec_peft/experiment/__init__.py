"""Experiment: from a recipe to an evaluated run; prepare, texts, fits of all variants, report, publish."""
