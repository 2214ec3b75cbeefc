"""Serving: many runs on one base; what is served is sealed, and every answer says what gave it."""
