"""Footprint: how much memory a recipe's training takes, computed from a model's configuration without its weights."""
