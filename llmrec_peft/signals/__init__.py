"""Signals: vectors of users and items, which the recipe joins."""
