"""Training: one state, one step, one loop for every method."""
