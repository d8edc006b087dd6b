"""MiniGrid's DoorKey."""
