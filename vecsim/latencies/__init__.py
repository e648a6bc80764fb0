"""Laws of round trips, one file each."""
