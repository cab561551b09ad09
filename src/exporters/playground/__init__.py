"""The playground messages of the reference's old releases, as Server-Sent Events."""
