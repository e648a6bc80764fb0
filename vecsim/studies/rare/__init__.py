"""Studies of rare events: probabilities too small to count, by splitting."""
