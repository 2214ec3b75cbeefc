"""Task heads: the question that a recommender answers, one file each."""
