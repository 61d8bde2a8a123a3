"""Classifiers: each gives a verdict on a text. One file each; `base` says what they have in common."""
