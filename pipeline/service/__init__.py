"""What stands before a model or a store that others reach over HTTP. Begin with serving.py."""
