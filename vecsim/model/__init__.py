"""The model: a point, its random words, the law of a poll, and configuration to components."""
