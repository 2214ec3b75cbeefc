"""Serving: many tenants' adapters on one frozen base."""
