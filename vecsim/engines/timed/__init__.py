"""Agents in simulated time: every node polls at its own pace, in ticks."""
