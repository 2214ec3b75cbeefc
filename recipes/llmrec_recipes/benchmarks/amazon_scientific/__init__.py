"""IISAN's benchmark: the next purchase in sequences from Amazon's category Industrial and Scientific."""
