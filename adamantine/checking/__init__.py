"""Assumptions verified on one's own model: which hold along its training, with what constants, and what that means."""
