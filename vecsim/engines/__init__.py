"""Engines: ways to run the same trial. All give the same distribution of outcomes."""
