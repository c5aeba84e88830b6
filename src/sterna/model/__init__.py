"""The words that every stage speaks: values only, no I/O; imports nothing of ours."""
