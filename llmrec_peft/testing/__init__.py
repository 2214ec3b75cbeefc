"""Testing: what a third party needs to try a plugin of its own."""
