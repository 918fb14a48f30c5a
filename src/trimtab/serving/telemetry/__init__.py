"""What a gateway tells about itself: counts, logs, traces."""
