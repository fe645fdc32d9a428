"""Scores of translations, beside baselines, and their pictures. Begin with evaluation.py."""
