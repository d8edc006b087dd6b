"""Streams of images: data that change from task to task."""
