"""hilum: train, judge and explain chest X-ray classifiers. Research use only; not a medical device."""

__version__ = "0.1.0"
