"""Robot facts: one YAML file, validated before anything runs."""
