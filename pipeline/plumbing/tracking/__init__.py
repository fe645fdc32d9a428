"""A training's record on disk, and MLflow's copy of it. Begin with run.py."""
