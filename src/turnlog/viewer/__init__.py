"""The viewer: pages over a log, made on the server and seen in a browser."""
