"""Interactions, items, users and a knowledge graph: read, split, numbered, rendered as text, batched."""
