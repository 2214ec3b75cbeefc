"""Ratings and reviews of products: one category of Amazon Reviews 2018."""
