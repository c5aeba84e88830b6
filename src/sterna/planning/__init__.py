"""Sorted pages in, actions out; no I/O."""
