"""Run a packaged model, which is a stranger's code, in a confined process. Begin with sandboxed_model.py."""
