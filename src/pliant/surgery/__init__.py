"""Tools of methods: reinitialized units, layer resets, masks, growth, initializers, an Adam with counts per weight."""
