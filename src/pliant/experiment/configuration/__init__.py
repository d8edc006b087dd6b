"""What a run is: its settings, checked, and the parts made of them."""
