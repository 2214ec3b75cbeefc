"""Explanation: the evidence for a score, a test of this evidence, and one or two sentences about it."""
