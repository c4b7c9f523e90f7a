"""What plays streams: recordings, and moving test patterns."""
