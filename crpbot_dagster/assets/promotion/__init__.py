"""The model in force, or none, with reasons."""
