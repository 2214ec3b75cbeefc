"""Ratings of films: MovieLens in every layout, with Freebase triples, plots or reviews."""
