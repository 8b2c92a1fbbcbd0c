"""What runs by itself: a daily schedule and sensors. They ask pure deciders and request runs by asset key.

``work`` days and labels · ``retraining`` training and evaluation · ``promotion`` verdicts · ``alerts`` who is told ·
``facts`` what they read. Not here: what a run does (``assets/``).
"""
