"""Compare a candidate with the champion, promote it, roll back. Read reviewer.py first, then promotion.py."""
