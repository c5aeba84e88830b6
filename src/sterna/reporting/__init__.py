"""Events in, words out."""
