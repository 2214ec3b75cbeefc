"""Signals: representations of users and items that the recipe joins."""
