"""Ratings and listening beside a network of people, who are recommended too."""
