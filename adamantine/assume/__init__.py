"""Assumptions: probes with the statement, symmetry and source attached."""
