"""Schedules and sensors: they ask pure deciders and request runs."""
