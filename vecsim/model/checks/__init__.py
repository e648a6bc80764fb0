"""Checks that a component keeps what its interface promises, before a study is computed with it."""
