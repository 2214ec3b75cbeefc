"""Evaluation: metrics, trivial baselines, slices, paired intervals."""
