"""CoLLM's benchmark over MovieLens-1M: likes of films by users with ids, split by time."""
