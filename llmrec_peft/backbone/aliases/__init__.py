"""Backbone aliases, one file each."""
