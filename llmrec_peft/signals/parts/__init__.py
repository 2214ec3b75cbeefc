"""Parts: computations that several signals share; it contains no plugin."""
