"""Ratings of films: MovieLens-100K, with Freebase triples about the films."""
