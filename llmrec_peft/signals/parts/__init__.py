"""Parts: what several signals compute; no plugin stands here."""
