"""Load on servers: requests at a fixed rate or from callers that wait, latencies without coordinated omission."""
