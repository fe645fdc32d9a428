"""Candidate beside champion, the verdict, and what follows from it. Begin with reviewer.py, then promotion.py."""
