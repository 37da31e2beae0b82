"""The host side of plugins: finding them, loading their declarations, and answering for components by name."""
