"""Interactions, items, users and a knowledge graph: read, divide, number, render as text, batch."""
