"""int8 matrix product into int32, with fused scale, bias and ReLU."""
