"""Published benchmarks, one folder each: their owners' splits, figures to compare with."""
