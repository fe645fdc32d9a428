"""The functions and classes that the stages use. Importing them runs nothing."""
