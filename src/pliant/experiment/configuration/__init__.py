"""The configuration of a run: its settings, checked, and the components made from them."""
