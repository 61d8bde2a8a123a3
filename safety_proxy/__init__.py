"""Content-safety moderation proxy for language-model endpoints."""

__version__ = "0.1.0"
