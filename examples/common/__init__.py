"""What the examples share: options, the run folder, batches, fitting, opening models."""
