"""Evaluate translations: BLEU and chrF of the model and two baselines, and pictures. Begin with evaluation.py."""
