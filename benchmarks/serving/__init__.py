"""Benchmarks of serving many tenants on one base; `benchmarks/tenants.py` runs them all."""
