"""The profile of a task: what its optimizer has to cope with, measured, and the optimizer that follows."""
