"""What a test reads of another process."""


def complaints(stderr: str) -> str:
    """Return what was said on standard error, less asyncio's notes of slow steps: the machine is busy."""
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith("Executing <"))
