"""What goes up, and where outputs land."""
