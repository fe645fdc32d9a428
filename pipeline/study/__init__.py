"""Compare the members of the model family, to show what attention is good for: the page that `make study` writes."""
