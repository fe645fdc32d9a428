"""What every stage needs: settings, artifacts, stamps, locks, the command line, progress, the record of a training.

Nothing here changes what a stage computes. So the stamps leave this code out, and an edit here makes nothing stale.
"""
