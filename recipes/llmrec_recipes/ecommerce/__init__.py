"""Ratings, reviews and products of a shop: one category of Amazon Reviews, of 2018 or 2023."""
