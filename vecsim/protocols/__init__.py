"""Protocols: one file each."""
