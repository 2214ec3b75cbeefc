"""Films: MovieLens-100K, with Freebase triples around the films."""
