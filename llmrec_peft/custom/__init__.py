"""A user's own data: what the columns of files or frames are, and the dataset and the recipe made of them."""
