"""Games of Steam: who bought and played which, for how many hours."""
