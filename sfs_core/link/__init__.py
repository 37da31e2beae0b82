"""How parties and callers talk to a server: listeners for what arrives, channels and peers for what is sent."""
