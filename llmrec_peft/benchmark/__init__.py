"""Benchmark: a matrix of recipes, backbones, adapters, precisions and seeds, measured cell by cell."""
