"""A simulated crypto market with a planted truth, and a local server that speaks its real wire formats."""
