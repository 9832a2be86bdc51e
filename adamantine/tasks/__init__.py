"""Things to minimise: one family a file."""
