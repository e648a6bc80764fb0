"""Stake: how much of the network's weight each node holds. One file each."""
