"""What a person sees of the gate: shapes, images and charts as plain values, for rviz and for files alike."""
