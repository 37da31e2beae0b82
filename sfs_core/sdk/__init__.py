"""What a plugin implements: hooks that return records, and the base classes that records point to."""
