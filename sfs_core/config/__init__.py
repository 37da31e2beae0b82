"""Configs: what they may say, and reading them."""
