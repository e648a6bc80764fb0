"""What is stored, read, estimated, shown and drawn: never JAX."""
