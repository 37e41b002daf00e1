"""When to send, and how much at once: async, but knows no HTTP library."""
