"""The conformance suite of task heads."""
