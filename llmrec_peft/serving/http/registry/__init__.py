"""Registry: what a server knows of its tenants, on disk: their versions and states, keys, and events."""
