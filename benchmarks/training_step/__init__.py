"""The training step of a translator with an attention decoder."""
