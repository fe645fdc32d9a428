"""Run a packaged model, whose code is not trusted, in a confined process. Begin with sandboxed_model.py."""
