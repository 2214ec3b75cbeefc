"""Stars of a shop's products: a reader and its recipe."""
