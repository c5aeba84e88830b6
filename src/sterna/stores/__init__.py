"""Places with sorted keys: a bucket, a folder, a dictionary."""
