"""What an episode is worth: measured, judged, drawn."""
