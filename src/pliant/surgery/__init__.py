"""Tools that methods are made of: fresh weights, resets, masks, initializers, an optimizer that begins anew."""
