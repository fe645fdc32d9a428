"""Provide what every stage needs: settings, artifacts, stamps, locks, command line, progress, record of a training.

Nothing here changes what a stage computes. So the stamps leave this code out, and an edit here makes nothing stale.
"""
