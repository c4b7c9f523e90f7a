"""For `pip install -e .` on machines without ROS; everything is declared in pyproject.toml."""

from setuptools import setup

setup()
