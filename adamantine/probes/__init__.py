"""Measurements: functions from a Point to a number or a dict of numbers."""
