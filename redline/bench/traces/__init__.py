"""Public request traces: who came when, with how long a prompt, and how long the answer was."""
