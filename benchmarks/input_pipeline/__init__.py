"""Whether training waits for its input pipeline."""
