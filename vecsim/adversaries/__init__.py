"""Adversaries: one file each. Mixes are (P(answers 1), P(answers 0)).

`safety_split` tells two groups of honest nodes apart, those that start at 1 first (see
`types.Adversary.groups`). All others have one group: they answer every honest node alike, or by the
colour that it prefers.
"""
