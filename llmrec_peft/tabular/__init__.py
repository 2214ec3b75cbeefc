"""Table files of a user's own: their form recognised, their rows read into Arrow, their mistakes named."""
