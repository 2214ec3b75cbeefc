"""Measurements of serving many tenants on one base, one part a file; `tenants.py` and `server.py` run them."""
