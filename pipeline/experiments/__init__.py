"""List experiments and their state, compare two of them, and find files in `build` that nothing needs."""
