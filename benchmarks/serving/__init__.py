"""Measurements of serving many tenants on one base, one part a file; `benchmarks/tenants.py` runs them."""
