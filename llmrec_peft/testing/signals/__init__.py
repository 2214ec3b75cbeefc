"""The conformance suite of signals."""
