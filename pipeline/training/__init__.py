"""Training: batch plan, loop, checkpoints, and what may interrupt it. Begin with trainer.py."""
