"""Mixed batches: the rows of one pass through the base are each changed by an adapter of their own."""
