"""Serve a registered version over HTTP, and control who may use a server. Begin with serving.py."""
