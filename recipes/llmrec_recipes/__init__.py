"""Recipes: a folder for each domain, with a reader of its data, settings for made-up data, and one or more recipes."""
