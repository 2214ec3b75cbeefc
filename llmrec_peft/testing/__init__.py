"""Testing: conformance suites with which anyone can test a plugin of their own."""
