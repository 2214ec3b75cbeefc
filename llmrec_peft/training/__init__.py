"""Training: one Accelerate loop, early stopping, exact checkpoints, trackers."""
