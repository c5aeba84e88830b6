"""Settings assembled, and locations examined."""
