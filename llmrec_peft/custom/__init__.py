"""Data of a user's own: what the columns of two files or two frames are, and the dataset and the recipe made of them."""
