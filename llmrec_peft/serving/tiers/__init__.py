"""Which versions are in memory: those that are asked for, within a number of bytes."""
