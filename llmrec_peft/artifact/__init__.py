"""The run folder: written whole or not at all, verified when read."""
