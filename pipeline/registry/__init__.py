"""Package a trained model, register it in MLflow, find and fetch its versions. Begin with registration.py."""
