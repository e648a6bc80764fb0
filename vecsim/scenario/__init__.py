"""Scenarios: a simulated cluster under load and faults, and criteria that its figures must meet."""
