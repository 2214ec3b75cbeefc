"""Task heads: the task that a recommender is trained for, one file each."""
