"""A party's server: its services behind ports."""
