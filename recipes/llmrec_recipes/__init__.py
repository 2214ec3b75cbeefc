"""Recipes: one folder a domain, with its recipe and the reader of its owner's files."""
