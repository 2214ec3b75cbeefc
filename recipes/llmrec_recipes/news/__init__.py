"""Clicks on news: Microsoft News (MIND), with articles' texts, categories and entities."""
