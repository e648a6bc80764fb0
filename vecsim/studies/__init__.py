"""Studies: points swept over parameters, and what is computed at each of them."""
