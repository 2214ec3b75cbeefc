"""Backbone aliases: a few lines each."""
