"""What a loss is written in: expressions over a table of primitives."""
