"""Sorted pages in, actions out; no I/O but on files that it is given."""
