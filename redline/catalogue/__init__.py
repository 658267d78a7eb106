"""The rows of redline/techniques.py, by what they are about."""
