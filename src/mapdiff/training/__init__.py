"""Training: one loop for every method, and checkpoints that resume to the bit."""
