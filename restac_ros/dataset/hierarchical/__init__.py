"""Imports demonstrations that others keep as folders of arrays and images, by task and subtask."""
