"""Endpoints: one file a subject."""
