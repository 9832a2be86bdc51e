"""Matrix-free linear algebra: each solver takes products with a symmetric matrix and returns value, error and count."""
