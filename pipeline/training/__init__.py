"""Train the model: batches, optimiser steps, validation, checkpoints. Begin with trainer.py."""
