"""Agents: every node is kept, as one small number."""
