"""Studies of designs: which k, alpha and beta meet a target of safety, and what they cost."""
