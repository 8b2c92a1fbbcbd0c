"""What a model may see, and its label."""
