"""The conformance suite of adapter methods."""
