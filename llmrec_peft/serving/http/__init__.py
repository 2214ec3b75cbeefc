"""The HTTP server: keys, quotas, lanes, registry and page around an engine."""
