"""Environments that are registered with gymnasium."""
