"""Run: a trained run in memory; tenant, catalogue, language model, vectors, recommender."""
