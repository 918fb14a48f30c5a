"""The client of endpoints: pooled HTTP/1.1 connections, streams of server-sent events, timeouts, retries."""
