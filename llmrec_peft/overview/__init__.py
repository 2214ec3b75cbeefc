"""What data are like, and what a recipe would make of them, before anything is trained."""
