"""Actions in, proved outcomes out."""
