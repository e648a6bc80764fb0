"""Exact: what trials give on average and in distribution, from Markov chains (host side)."""

from vecsim.engines.exact.solver import Solution, solve, supports

__all__ = ["Solution", "solve", "supports"]
