"""Data every machine has, and loaders for one's own."""
