"""Lanes: in which order requests of many tenants are computed, by which threads, and how long they may wait."""
