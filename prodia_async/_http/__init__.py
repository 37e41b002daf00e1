"""The only room that imports aiohttp."""
