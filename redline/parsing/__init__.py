"""What a model wrote, taken apart: reasoning, tool calls, and the content that is left."""
