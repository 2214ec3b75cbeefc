"""Evaluation: metrics, baselines, slices, paired intervals."""
