"""Sequences of tasks: a robot whose physics, sensors or motors change at known steps."""
