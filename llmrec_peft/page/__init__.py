"""The HTML page of a run: one file without scripts and without network."""
