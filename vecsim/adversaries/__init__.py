"""Adversaries: one file each. Mixes are (P(answers 1), P(answers 0))."""
