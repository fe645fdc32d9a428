"""Evaluate translations: BLEU and chrF beside two baselines, and pictures. Begin with evaluation.py."""
