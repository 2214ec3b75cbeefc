"""What a stranger hands in: refused in one line, nothing else changed."""
