"""Dense fp32 matrix product."""
