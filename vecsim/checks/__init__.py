"""Whether a component keeps what its interface promises; before anything is compiled with it."""
