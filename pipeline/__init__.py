"""The library: what each stage does, without arguments, prints or work at import time."""
