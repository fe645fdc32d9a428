"""The record of a training on disk, and its copy in MLflow. Read run.py first."""
