"""What the verbs return beside 0 and 1."""

INTERRUPTED = 130  # what a shell reports for a program that ends by SIGINT
