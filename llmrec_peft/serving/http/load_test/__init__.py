"""A load test in an open loop: what is asked and when, what is sent, and what became of it."""
