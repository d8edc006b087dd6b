"""The loop of environments outside of the device."""
