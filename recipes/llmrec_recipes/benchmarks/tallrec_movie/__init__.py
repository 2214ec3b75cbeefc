"""Likes of films, few-shot: TALLRec's benchmark, in which every record brings its own history."""
