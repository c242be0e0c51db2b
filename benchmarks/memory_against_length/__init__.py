"""Time and memory of attention against length."""
