"""Parts: one idea of an optimizer a file; nothing here imports a sibling package."""
