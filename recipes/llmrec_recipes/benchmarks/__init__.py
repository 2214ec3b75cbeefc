"""Published benchmarks, a folder for each: the owners' data splits, and figures to compare with."""
