"""Adversaries: one file each. Mixes are (P(answers 1), P(answers 0)); the rest is silence.

`safety_split` distinguishes two groups of honest nodes, of which those that start at 1 come first
(see `types.Adversary.groups`). All others have one group: they answer every honest node alike, or
according to the colour that it prefers.
"""
