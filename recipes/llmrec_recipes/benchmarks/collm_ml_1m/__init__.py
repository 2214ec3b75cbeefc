"""Likes of films by users who come back: CoLLM's benchmark over MovieLens-1M."""
