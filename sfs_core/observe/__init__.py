"""What a running server tells about itself: metrics, logs, traces."""
