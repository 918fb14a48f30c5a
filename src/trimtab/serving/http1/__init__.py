"""HTTP/1.1 connections over asyncio. Knows ASGI, and nothing of models."""
