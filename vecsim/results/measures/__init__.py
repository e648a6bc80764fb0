"""What is measured on a run of the simulated cluster: by window, by trial, as statistics."""
