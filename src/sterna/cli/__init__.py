"""The command line: arguments in, words and an exit code out."""
