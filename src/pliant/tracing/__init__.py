"""Reads the program of a network: from jaxpr to labels to the wiring of its units."""
