"""Reviews of products in the user's own words: one category of Amazon Reviews 2018."""
