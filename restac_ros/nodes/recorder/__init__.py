"""The recorder: journals while it runs, episodes on save."""
