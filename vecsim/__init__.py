"""vecsim: vectorised Monte Carlo analysis of sampling-based consensus."""
