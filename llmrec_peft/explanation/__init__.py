"""Explanation: what carried a score, whether that is true, and one or two sentences that say it."""
