"""Versions in MLflow's registry: packaged, tried, registered, fetched again. Begin with registration.py."""
