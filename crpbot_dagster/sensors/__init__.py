"""Schedules and sensors: they ask pure deciders and request runs. This release has none: `crpbot run` starts work."""
