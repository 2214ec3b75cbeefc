"""Collaborative models of other packages, measured on this project's own splits, seen-item rule and metric code."""
