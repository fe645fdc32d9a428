"""What is known of all experiments: their state, how two of them differ, and what of their files nothing needs."""
