"""Kill the command at every step that changes something, and see what the next run makes of what is left."""
