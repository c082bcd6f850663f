"""Dense fp32 matrix times vector."""
