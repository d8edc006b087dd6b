"""Contracts, and the two hard parts, each written once: finding the hidden units, and making them anew."""
