"""What every stage runs on: settings, artifacts, stamps, locks, the command line, progress, the record of a training.

Nothing here has a say in what a stage computes. So this code is in no stamp: a change of it makes nothing stale.
"""
