"""One sentence through an exported translator."""
