"""Figures and the page: shows findings, never computes them."""
