"""Seeing: metrics, logs and traces of the server, without ids of users and without texts."""
